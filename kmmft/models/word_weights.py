"""Words that count alike, however many each text of a batch has."""

import keras
import tensorflow as tf

from kmmft.training.collectives import all_reduce_sum


def mean_over_words(data):
    """Weights that make a mean over a batch's places one over its words.

    The mean is that of the global batch. It is done before the step, because a replica,
    and each of its micro-batches, divides by its own number of places, whatever their
    weights are. Call it in replica context.

    Args:
        data: What a train step is given: inputs, int words `(batch, length)` and
            weights of the words, 0 for padding, or no weights.

    Returns:
        The three, with float32 weights whose mean over the global batch is 1.
    """
    x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    if weights is None:
        weights = tf.ones_like(y, tf.float32)
    weights = tf.cast(weights, tf.float32)
    places = tf.cast(tf.size(weights), tf.float32)
    places, words = all_reduce_sum([places, tf.reduce_sum(weights)])
    return x, y, weights * tf.math.divide_no_nan(places, words)
