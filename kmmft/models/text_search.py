"""How a text is chosen word by word: the likeliest word, or drawn by lot."""

import math

import keras
import keras_hub
import tensorflow as tf

from kmmft.models.sampling import check_kept


class TextSearch:
    """What the searches share: they are told by their settings, and save with a model.

    A search is called with what it takes to write:

    Args:
        step: From int tokens `(rows, 1)`, their place, memory and cache, to float32
            logits of the next words `(rows, words)` and the cache.
        memory: Structure of tensors `(batch, ...)`, which stays as it is.
        cache: Structure of tensors `(batch, ...)`.
        first: int32 tensor `(batch, length)`: `given` start tokens, then padding.
        end_id: Id of the end token.
        seed: int32 scalar, for searches that draw.
        given: Number of start tokens; `step` has read all of them but the last.

    Returns:
        int32 tensor `(batch, length)`. What stands behind an end token has no meaning.
    """

    draws = False

    def __call__(self, step, memory, cache, first, end_id, seed, given=1) -> tf.Tensor:
        raise NotImplementedError

    def get_config(self) -> dict:
        return {key: v for key, v in vars(self).items() if not key.startswith("_")}

    @classmethod
    def from_config(cls, config: dict):
        return cls(**config)

    def __repr__(self) -> str:
        settings = ", ".join(
            f"{key}={value}" for key, value in self.get_config().items()
        )
        return f"{type(self).__name__}({settings})"


@keras.saving.register_keras_serializable("kmmft")
class Greedy(TextSearch):
    """Always the likeliest next word, by KerasHub's sampler.

    Example:
        >>> kmmft.models.Greedy()
        Greedy()
    """

    def __call__(self, step, memory, cache, first, end_id, seed, given=1):
        sampler = keras_hub.samplers.GreedySampler()
        return _write(sampler, step, memory, cache, first, end_id, given)


@keras.saving.register_keras_serializable("kmmft")
class Sampling(TextSearch):
    """Draws each word from the model's distribution, or from its head.

    By KerasHub's samplers. The same seed gives the same texts, in Python and in an
    exported model.

    Args:
        top_k: Only the `top_k` likeliest words may be drawn; `None`, or a number
            that there are not, for all.
        top_p: Only the likeliest words that together reach this probability.
        temperature: Divides the logits; below 1 the likely become likelier.

    Raises:
        ValueError: If a setting is out of range.

    Example:
        >>> kmmft.models.Sampling(top_p=0.9)
        Sampling(top_k=None, top_p=0.9, temperature=1.0)

    References:
        - [Fan et al., 2018](https://arxiv.org/abs/1805.04833) (top-k).
        - [Holtzman et al., 2019](https://arxiv.org/abs/1904.09751) (top-p).
    """

    draws = True

    def __init__(
        self,
        top_k: int | None = None,
        top_p: float | None = None,
        temperature: float = 1.0,
    ):
        check_kept(top_k, top_p)
        if not 0 < temperature < math.inf:
            raise ValueError(
                "`temperature` must be positive and finite. Received: "
                f"temperature={temperature}."
            )
        self.top_k = top_k
        self.top_p = top_p
        self.temperature = temperature
        # Here and not when it is traced, because it makes a variable (of no use).
        self._sampler = self._make_sampler()
        self._sampler.seed_generator = _SeedOfPlace()

    def __call__(self, step, memory, cache, first, end_id, seed, given=1):
        seeds = self._sampler.seed_generator

        def seeded_step(token_ids, index, memory, cache):
            key = tf.stack([tf.cast(seed, tf.int32), tf.cast(index, tf.int32)])
            seeds.current = tf.random.experimental.stateless_fold_in(key, 0)
            logits, cache = step(token_ids, index, memory, cache)
            if self.top_k is not None:  # of fewer words, all
                self._sampler.k = min(self.top_k, logits.shape[-1])
            return logits, cache

        return _write(self._sampler, seeded_step, memory, cache, first, end_id, given)

    def _make_sampler(self) -> keras_hub.samplers.Sampler:
        samplers, heat = keras_hub.samplers, self.temperature
        if self.top_p is not None:
            return samplers.TopPSampler(self.top_p, self.top_k, temperature=heat)
        if self.top_k is not None:
            return samplers.TopKSampler(self.top_k, temperature=heat)
        return samplers.RandomSampler(temperature=heat)


class _SeedOfPlace(keras.random.SeedGenerator):
    """Seeds that are set from outside, in place of a variable that counts draws.

    A counting variable would go on where it stood: an exported model would answer the
    same request in another way each time.
    """

    def __init__(self):
        self.current = None

    def next(self, ordered=True):
        return self.current


def _write(sampler, step, memory, cache, first, end_id, given) -> tf.Tensor:
    def after(written, cache, index):
        last = tf.slice(written, [0, index - 1], [-1, 1])
        logits, cache = step(last, index - 1, memory, cache)
        return logits, (), cache

    start = tf.sequence_mask(tf.fill(tf.shape(first)[:1], given), tf.shape(first)[1])
    return sampler(
        after, first, cache=cache, index=given, mask=start, stop_token_ids=[end_id]
    )
