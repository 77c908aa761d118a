"""What an exported model is asked: functions of raw rows, each row on its own."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from kmmft.data import decode_rows
from kmmft.data.decoded_rows import MAX_PIXELS

Tensors = Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class ServedFunction:
    """One thing that an exported model can be asked.

    Args:
        function: Takes raw tensors by name, and returns a dict of tensors. The first
            axis of all of them is the batch, of any length, and each row is answered
            on its own: a server may group requests.
        inputs: Specs of what it takes, by name.
        examples: Makes examples of what it takes out of examples of the model's raw
            inputs, by modality. `None`: they are the same.
    """

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: Mapping[str, tf.TensorSpec]
    examples: Callable[[Tensors], Tensors] | None = None


class ServedRows:
    """Turns functions of decoded images and sounds into functions of raw rows.

    A file that cannot be decoded spoils no other row: the function also returns
    `error`, string `(batch,)`, which says what is wrong and is empty for good rows.
    Other outputs of a bad row are zeros and empty strings. An empty batch gives empty
    outputs.

    Args:
        model: A model with `kmmft.models.RawInputs`.
        strict: Whether a bad file fails the whole batch instead.
        max_pixels: Images of more pixels are bad ones; they are not decoded.
    """

    def __init__(
        self, model: keras.Model, strict: bool = False, max_pixels: int = MAX_PIXELS
    ):
        if max_pixels < 1:
            raise ValueError(
                f"`max_pixels` must be positive. Received: max_pixels={max_pixels}."
            )
        self.model = model
        self.strict = strict
        # Traced once for all functions that read files of a modality.
        self.readers = {
            modality: tf.function(
                functools.partial(
                    decode_rows,
                    decode=model.file_decoder(modality),
                    max_pixels=max_pixels,
                    may_miss=model.missing_modalities,
                    fault=getattr(model.encoders[modality], "fault", None),
                )
            )
            for modality in model.file_modalities()
        }

    def __call__(
        self,
        function: Callable[..., dict[str, tf.Tensor]],
        inputs: Mapping[str, tf.TensorSpec],
        examples: Callable[[Tensors], Tensors] | None = None,
    ) -> ServedFunction:
        """Wraps one function.

        Args:
            function: As that of `ServedFunction`, but files come decoded.
            inputs: Specs of the raw inputs.
            examples: As in `ServedFunction`.

        Returns:
            The function of raw inputs.
        """

        def answer(**raw):
            rows = tf.shape(next(iter(raw.values())))[0]
            raw = _equally_many(raw)
            raw = {name: _one_at_least(value) for name, value in raw.items()}
            decoded, error = self._decode(raw)
            if self.strict and error is not None:
                decoded = _fail_on(error, decoded)
            outputs = dict(function(**decoded))
            if not self.strict and error is not None:
                outputs = {key: _blank(x, error) for key, x in outputs.items()}
                outputs["error"] = error
            return {name: value[:rows] for name, value in outputs.items()}

        return ServedFunction(answer, inputs, examples)

    def _decode(self, raw: Tensors) -> tuple[dict, tf.Tensor | None]:
        decoded, errors = dict(raw), []
        for modality in self.readers.keys() & raw.keys():
            decoded[modality], error = self.readers[modality](raw[modality])
            named = tf.strings.join([f"{modality} ", error])
            errors.append(tf.where(error == "", "", named))
            if self.model.missing_modalities:
                here = self.model.is_present(modality, raw)
                decoded[f"{modality}_present"] = here
        if not errors:
            return decoded, None
        joined = tf.strings.join(errors, separator=" ")
        return decoded, tf.strings.strip(joined)


def _equally_many(raw: Tensors) -> dict[str, tf.Tensor]:
    rows = tf.stack([tf.shape(value)[0] for value in raw.values()])
    text = f"The inputs {', '.join(raw)} must have equally many rows. Received:"
    check = tf.debugging.Assert(tf.reduce_all(rows == rows[0]), [text, rows])
    with tf.control_dependencies([check]):
        return {name: tf.identity(value) for name, value in raw.items()}


def _one_at_least(value: tf.Tensor) -> tf.Tensor:
    """An empty batch becomes one empty row, since some kernels refuse none."""
    shape = tf.concat([[1], tf.shape(value)[1:]], 0)
    value_or_row = tf.cond(
        tf.shape(value)[0] > 0, lambda: value, lambda: tf.zeros(shape, value.dtype)
    )
    return tf.ensure_shape(value_or_row, value.shape)


def _fail_on(error: tf.Tensor, values: dict) -> dict:
    row = tf.argmax(error != "")
    text = tf.strings.join(["Row ", tf.strings.as_string(row), ": ", error[row]])
    with tf.control_dependencies([tf.debugging.Assert(error[row] == "", [text])]):
        return tf.nest.map_structure(tf.identity, values)


def _blank(output: tf.Tensor, error: tf.Tensor) -> tf.Tensor:
    good = tf.reshape(error == "", [-1] + [1] * (output.shape.rank - 1))
    return tf.where(good, output, tf.zeros([], output.dtype))
