"""A TensorFlow SavedModel as a trainable Keras layer."""

import collections

import keras
import tensorflow as tf

from kmmft.encoders.handles import saved_model_directory


@keras.saving.register_keras_serializable("kmmft")
class SavedModelLayer(keras.layers.Layer):
    """Calls a SavedModel, trains its weights, and freezes them on request.

    Takes the place of `hub.KerasLayer`, which trains nothing under Keras 3. The
    weights are the SavedModel's own variables, so an optimizer, a weights file or a
    strategy treats them as any other layer's. Under a strategy, make the layer inside
    its scope. A frozen layer (`trainable=False`) also runs in inference mode.

    The weights live in the `.keras` file, but the program in the SavedModel does not:
    loading needs the directory at `handle` again.

    Args:
        handle: A SavedModel directory, a `https://tfhub.dev/...` address or
            `kaggle://owner/model/framework/variation/version`.
        output_key: Key of the output, where the SavedModel returns a dict.
        signature: Signature to call. Defaults to the object's own `__call__`, else
            `"serving_default"`.

    Call arguments:
        inputs: What the SavedModel takes, with a batch axis first.
        training: Whether the SavedModel runs in training mode, if it knows one.

    Returns:
        float tensor, the SavedModel's output.

    Raises:
        ValueError: If `handle` leads to no SavedModel, or it has no such `output_key`
            or `signature`.

    Example:
        >>> module = tf.Module()
        >>> module.scale = tf.Variable(2.0, name="scale")
        >>> spec = tf.TensorSpec([None, 1])
        >>> module.__call__ = tf.function(lambda x: x * module.scale, [spec])
        >>> tf.saved_model.save(module, "doubling")
        >>> layer = kmmft.encoders.SavedModelLayer("doubling")
        >>> layer(tf.constant([[3.0]])).numpy()
        array([[6.]], dtype=float32)
    """

    def __init__(
        self,
        handle: str,
        output_key: str | None = None,
        signature: str | None = None,
        **kwargs,
    ):
        # A SavedModel's dtypes are fixed: no policy may cast its inputs.
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.handle = str(handle)
        self.output_key = output_key
        self.signature = signature
        self.supports_jit = False  # strings and lookup tables may be inside
        self._saved_model = tf.saved_model.load(saved_model_directory(self.handle))
        self._function = self._find_function()
        self._track_variables()
        parameters = [f.function_type.parameters for f in self._concrete_functions()]
        self._takes_training = any("training" in names for names in parameters)
        self.built = True

    def _find_function(self):
        if self.signature is None and callable(self._saved_model):
            return self._saved_model.__call__
        signatures = self._saved_model.signatures
        name = self.signature or "serving_default"
        if name not in signatures:
            raise ValueError(
                f"`signature` must be one of {sorted(signatures)}. "
                f"Received: signature={self.signature!r}"
            )
        return signatures[name]

    def _concrete_functions(self):
        return getattr(self._function, "concrete_functions", None) or [self._function]

    def _track_variables(self) -> None:
        functions = self._concrete_functions()
        trainable = _variables(self._saved_model, functions, "trainable_variables")
        ids = {id(variable) for variable in trainable}
        others = [
            variable
            for variable in _variables(self._saved_model, functions, "variables")
            if id(variable) not in ids and variable.dtype != tf.string
        ]
        uses = collections.Counter()
        for variable in trainable + others:
            # "/" and ":" in a name would break optimizers and weight files; two
            # variables of one name, which SavedModels may have, would be mixed up.
            name = variable.name.split(":")[0].replace("/", "_")
            uses[name] += 1
            # Wrapped without a copy: the SavedModel's program reads the same one.
            self._track_variable(
                keras.Variable(
                    variable,
                    dtype=variable.dtype.name,
                    trainable=id(variable) in ids,
                    autocast=False,
                    name=name if uses[name] == 1 else f"{name}_{uses[name]}",
                )
            )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        training = bool(training) and self.trainable
        named = {"training": training} if self._takes_training else {}
        if self.signature is None and callable(self._saved_model):
            outputs = self._function(inputs, **named)
        else:
            _, arguments = self._function.structured_input_signature
            outputs = self._function(**{next(iter(arguments)): inputs})
        if training:
            for loss in getattr(self._saved_model, "regularization_losses", None) or []:
                self.add_loss(loss())
        return self._select(outputs)

    def _select(self, outputs):
        if not isinstance(outputs, dict):
            return outputs
        if self.output_key is None and len(outputs) == 1:
            return next(iter(outputs.values()))
        if self.output_key not in outputs:
            raise ValueError(
                f"`output_key` must be one of {sorted(outputs)}. "
                f"Received: output_key={self.output_key!r}"
            )
        return outputs[self.output_key]

    def get_config(self) -> dict:
        config = super().get_config()
        return {
            **config,
            "handle": self.handle,
            "output_key": self.output_key,
            "signature": self.signature,
        }


def _variables(saved_model, functions, attribute):
    variables = getattr(saved_model, attribute, None)
    if variables is None:  # a plain tf.Module: ask the traced functions
        found = {id(v): v for f in functions for v in getattr(f, attribute)}
        variables = found.values()
    return list(variables)
