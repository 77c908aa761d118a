"""One entry point of an exported model: a function of raw tensors and their specs."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Signature:
    """One entry point of an exported model.

    A signature takes raw inputs (encoded images, strings) and gives named tensors.
    The first axis of every input and output is the batch, and its length is left
    open (`None`), so that a server may group requests. What an empty batch or an image
    that cannot be decoded does is the function's to say; those of kmmft's models
    answer an empty batch, and bad rows by an `error`.

    Args:
        function: Called with one tensor per input, by name. Must return a dict of
            dense tensors. It is traced in inference mode, so it must use TensorFlow and
            Keras ops only (no Python state, no `tf.py_function`).
        inputs: Spec of each input, by the name of the function's argument.
        examples: Makes examples of these inputs out of the examples that the export is
            given. `None`: they are among them, by the same names.

    Example:
        >>> scale = tf.Variable(2.0)
        >>> signature = kmmft.export.Signature(
        ...     lambda length: {"doubled": length * scale},
        ...     {"length": tf.TensorSpec([None], tf.float32)},
        ... )
        >>> traced = signature.trace("serving_default")
        >>> traced(length=tf.constant([1.5]))["doubled"].numpy().tolist()
        [3.0]
    """

    function: Callable[..., Mapping[str, tf.Tensor]]
    inputs: Mapping[str, tf.TensorSpec]
    examples: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None

    def example_inputs(self, examples: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Makes what the function is checked on.

        Args:
            examples: Raw inputs by name, as `export_saved_model` is given them.

        Returns:
            Tensors by the names of the inputs.

        Raises:
            KeyError: If an example is missing.
        """
        own = examples if self.examples is None else self.examples(examples)
        return {
            key: tf.convert_to_tensor(own[key], spec.dtype)
            for key, spec in self.inputs.items()
        }

    def trace(self, name: str) -> tf.types.experimental.ConcreteFunction:
        """Turns the function into one graph.

        Args:
            name: The signature's name, for the error messages.

        Returns:
            The concrete function, called with one tensor per input, by name.

        Raises:
            ValueError: If the function does not return a dict of tensors with a batch
                axis.
        """

        def serve(**inputs):
            outputs = self.function(**inputs)
            if not isinstance(outputs, Mapping) or not all(
                isinstance(key, str) and tf.is_tensor(value) and value.shape.rank != 0
                for key, value in outputs.items()
            ):
                raise ValueError(
                    f"The function of signature {name!r} must return a dict from "
                    f"names to tensors with a batch axis. Received: {outputs!r}. "
                    "Return for example {'logits': logits}."
                )
            # An identity per output gives each its own tensor: a SavedModel cannot
            # name one tensor twice, nor an input as output.
            return {key: tf.identity(value) for key, value in outputs.items()}

        specs = {
            key: tf.TensorSpec(spec.shape, spec.dtype, name=key)
            for key, spec in self.inputs.items()
        }
        return tf.function(serve, autograph=False).get_concrete_function(**specs)
