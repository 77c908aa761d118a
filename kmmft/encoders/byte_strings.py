"""UTF-8 bytes as token ids, back to strings inside the graph."""

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable("kmmft")
class ByteStrings(keras.layers.Layer):
    """Joins token ids that are UTF-8 bytes into strings.

    The way through Keras for models that take strings: numbers outside, strings
    only inside the graph. A last character that was cut in two is dropped.

    Call arguments:
        token_ids: int tensor `(batch, num_bytes)`, each in [0, 255].
        padding_mask: bool tensor `(batch, num_bytes)`, True marks real bytes.

    Returns:
        string tensor `(batch,)`.

    Example:
        >>> ids = np.array([[104, 105, 0]])
        >>> kmmft.encoders.ByteStrings()(ids, np.array([[True, True, False]])).numpy()
        array([b'hi'], dtype=object)
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_jit = False  # XLA has no strings

    def call(self, token_ids: tf.Tensor, padding_mask: tf.Tensor) -> tf.Tensor:
        table = tf.constant([bytes([byte]) for byte in np.arange(256)])
        pieces = tf.where(padding_mask, tf.gather(table, token_ids), "")
        joined = tf.strings.reduce_join(pieces, axis=1)
        return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="ignore")

    def compute_output_spec(
        self, token_ids: keras.KerasTensor, padding_mask: keras.KerasTensor
    ) -> keras.KerasTensor:
        return keras.KerasTensor(token_ids.shape[:1], dtype="string")
