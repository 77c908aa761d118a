"""Sums over the marked candidates of each row."""

import tensorflow as tf


def mean_where(mask: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Mean over the marked candidates of each row; 0 for a row without any."""
    total = tf.reduce_sum(tf.where(mask, values, 0.0), axis=1)
    count = tf.reduce_sum(tf.cast(mask, tf.float32), axis=1)
    return tf.math.divide_no_nan(total, count)


def log_softmax(logits: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Log-probabilities among the valid candidates of each row."""
    return tf.nn.log_softmax(tf.where(valid, logits, logits.dtype.min), axis=1)
