"""Beam search: several texts are kept until the best one is known."""

import math
import numbers

import keras
import tensorflow as tf

from kmmft.models.text_search import TextSearch

_NEVER = -1e9


@keras.saving.register_keras_serializable("kmmft")
class BeamSearch(TextSearch):
    """Keeps the likeliest beginnings, and returns the best finished text.

    A text is finished by the end token, or by reaching the greatest length. Its score
    is the sum of its words' log probabilities over `((5 + n) / 6) ** length_penalty`,
    with `n` words, the end token among them. The search ends when no beginning can
    become better than the finished texts. (KerasHub's own beam sampler goes on adding
    words' probabilities behind the end token, and has no length penalty.)

    Args:
        num_beams: Number of beginnings, and of finished texts, that are kept.
        length_penalty: 0 compares plain log probabilities, which favours short
            texts; larger values favour longer ones.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> kmmft.models.BeamSearch(4)
        BeamSearch(num_beams=4, length_penalty=0.6)

    References:
        - [Wu et al., 2016](https://arxiv.org/abs/1609.08144), eq. 14.
    """

    def __init__(self, num_beams: int = 4, length_penalty: float = 0.6):
        whole = isinstance(num_beams, numbers.Integral) and num_beams > 0
        if not whole or not 0 <= length_penalty < math.inf:
            raise ValueError(
                "`num_beams` must be a whole number from 1, and `length_penalty` "
                f"finite and not negative. Received: num_beams={num_beams}, "
                f"length_penalty={length_penalty}."
            )
        self.num_beams = num_beams
        self.length_penalty = length_penalty

    def __call__(self, step, memory, cache, first, end_id, seed, given=1):
        beams = self.num_beams

        def repeated(x):
            return tf.repeat(x, beams, axis=0)

        memory = tf.nest.map_structure(repeated, memory)
        cache = tf.nest.map_structure(repeated, cache)
        batch, length = tf.shape(first)[0], tf.shape(first)[1]
        texts = tf.repeat(first[:, None], beams, axis=1)
        # At first all beams are alike: only one of them counts.
        one = tf.one_hot([0], beams, on_value=0.0, off_value=_NEVER)
        alive = tf.repeat(one, batch, axis=0)
        finished = tf.fill([batch, beams], _NEVER)

        def go_on(index, texts, alive, done, finished, cache):
            best_hope = tf.reduce_max(alive, 1) / self._norm(length - given)
            return tf.reduce_any(best_hope > tf.reduce_min(finished, 1))

        def body(index, texts, alive, done, finished, cache):
            last = tf.reshape(texts[:, :, index - 1], [-1, 1])
            logits, cache = step(last, index - 1, memory, cache)
            scores, source, words = self._candidates(alive, logits)
            grown = _with_word(tf.gather(texts, source, batch_dims=1), index, words)
            ended = (words == end_id) | (index == length - 1)
            score = scores / self._norm(index - given + 1)
            done, finished = _best(
                tf.concat([done, grown], 1),
                tf.concat([finished, tf.where(ended, score, _NEVER)], 1),
                beams,
            )
            alive, kept = tf.math.top_k(tf.where(ended, _NEVER, scores), beams)
            texts = tf.gather(grown, kept, batch_dims=1)
            rows = (
                tf.gather(source, kept, batch_dims=1) + beams * tf.range(batch)[:, None]
            )
            rows = tf.reshape(rows, [-1])
            cache = tf.nest.map_structure(lambda x: tf.gather(x, rows), cache)
            return index + 1, texts, alive, done, finished, cache

        state = (tf.constant(given), texts, alive, texts, finished, cache)
        shapes = tf.nest.map_structure(lambda x: _loose(x.shape), state)
        *_, done, finished, _ = tf.while_loop(
            go_on,
            body,
            state,
            shape_invariants=shapes,
            maximum_iterations=length - given,
        )
        return done[:, 0]

    def _candidates(self, alive, logits):
        """The best two words a beam: scores, beams and words `(batch, 2 * beams)`."""
        words = logits.shape[-1]
        log_probabilities = tf.nn.log_softmax(tf.cast(logits, tf.float32))
        shape = [-1, self.num_beams, words]
        scores = alive[:, :, None] + tf.reshape(log_probabilities, shape)
        scores = tf.reshape(scores, [-1, self.num_beams * words])
        # At most one of a beam's words ends it: this leaves enough that do not.
        count = min(2 * self.num_beams, self.num_beams * words)
        scores, places = tf.math.top_k(scores, count)
        return scores, places // words, places % words

    def _norm(self, words):
        return ((5 + tf.cast(words, tf.float32)) / 6) ** self.length_penalty


def _best(texts, scores, count):
    scores, places = tf.math.top_k(scores, count)
    return tf.gather(texts, places, batch_dims=1), scores


def _with_word(texts, index, words):
    here = tf.range(tf.shape(texts)[2]) == index
    return tf.where(here, words[:, :, None], texts)


def _loose(shape: tf.TensorShape) -> tf.TensorShape:
    """A shape whose first axis is open, since a graph does not know the batch."""
    if not shape.rank:
        return shape
    return tf.TensorShape([None, *shape[1:]])
