"""Learning from a reward of what is written, against what is written greedily."""

import collections
import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kmmft.models.text_generation import token_context, write_tokens
from kmmft.models.text_search import Greedy, Sampling
from kmmft.models.token_texts import TokenTexts
from kmmft.models.word_weights import mean_over_words
from kmmft.training import StepOption
from kmmft.training.own_inputs import own_inputs

REFERENCE_KEY = "reference_key"


def reference_keys(ids: tf.Tensor) -> tf.Tensor:
    """Numbers that stand for records in a batch, which replicas cannot send as strings.

    Args:
        ids: string tensor of records' ids.

    Returns:
        int64 tensor of the same shape.

    Example:
        >>> kmmft.models.reference_keys(tf.constant(["a", "b"])).dtype
        tf.int64
    """
    return tf.strings.to_hash_bucket_fast(ids, 2**62)


@dataclasses.dataclass(frozen=True)
class SelfCritical(StepOption):
    """Makes a `kmmft.models.FusionGenerator` write what is rewarded.

    For each example a text is drawn from the model, word by word, and the likeliest
    one is written greedily. The gradient raises the probability of the drawn text by as
    much as its reward is above that of the greedy text, and lowers it where it is
    below: with p the probabilities of a drawn word w, the gradient at its logits is
    (reward of drawn - reward of greedy) (p - 1_w), here as a mean over the drawn words
    of the global batch, ends of texts included. The given captions are not learnt.

    Texts are written in inference mode and scored in a training pass. For the exact
    gradient both must be the same: set dropout to 0 and freeze BatchNorm by a plan, as
    `recipes.captioning` does. Compile the model without metrics, which would compare
    words of two texts, and with `jit_compile=False`, since the reward is Python.

    First train by cross-entropy until drawn texts are worth nearly as much as greedy
    ones (`log_rewards` tells both). A model that is right greedily and unsure of each
    word draws almost only what is worse than its greedy text: then a single draw says
    little, and a batch needs many examples, or each of its examples many times.

    Batches hold, beside the model's inputs, `reference_key` int64 `(batch,)`, of which
    the reward knows what belongs to an example; see `reference_keys`.

    Args:
        reward: Function of written texts (list of strings), whether each came to its
            end (bool array) and the keys (int array), which returns a float array of
            rewards, such as `kmmft.metrics.CiderReward`. It runs on the host.

    Raises:
        ValueError: When the step is traced, if the model cannot be trained so, or
            there is no `reference_key`.

    Example::

        references = {"record 1": ["a red circle"], "record 2": ["a blue disc"]}
        keys = kmmft.models.reference_keys(tf.constant(list(references)))
        reward = kmmft.metrics.CiderReward(
            dict(zip(keys.numpy().tolist(), references.values())))
        option = kmmft.models.SelfCritical(reward)
        model.step_options = [option]
        model.compile(kmmft.training.adamw(1e-5, 1000), metrics=[], jit_compile=False)
        model.fit(batches, callbacks=[option.log_rewards()])

    References:
        - [Rennie et al., 2017](https://arxiv.org/abs/1612.00563), eq. 8.
    """

    reward: Callable[[list[str], np.ndarray, np.ndarray], np.ndarray]
    # Not made in the step: it makes a variable.
    _searches: tuple = dataclasses.field(
        default_factory=lambda: (Sampling(), Greedy()), init=False, repr=False
    )
    _seen: dict = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list),
        init=False,
        repr=False,
        compare=False,
    )

    def wrap(self, model: keras.Model, forward) -> Callable:
        _check(model)

        def run(batch, part=0):
            key = _key(batch[0])
            drawn, greedy = self._write_two(model, batch[0], forward.random_seed()[0])
            advantage = self._rewards("drawn", model, drawn, key)
            advantage -= self._rewards("greedy", model, greedy, key)
            return forward(_reinforced(model, batch[0], drawn, advantage), part)

        return run

    def log_rewards(self) -> keras.callbacks.Callback:
        """A callback that adds `drawn_reward` and `greedy_reward` to an epoch's logs.

        They are means over the batches since the last epoch. Put it before callbacks
        that write the logs.
        """

        def log(epoch, logs=None):
            for name, values in self._seen.items():
                if values and logs is not None:
                    logs[f"{name}_reward"] = float(np.mean(values))
                values.clear()

        return keras.callbacks.LambdaCallback(on_epoch_end=log)

    def get_config(self) -> dict:
        return {"reward": self.reward}

    def _write_two(self, model, x, seed) -> list[tf.Tensor]:
        """Token ids of a drawn and of the greedy text about each example."""
        context, mask = token_context(
            model.encoders, model.projections, x, model.fusion
        )
        return [
            write_tokens(model.decoder, model._texts, context, mask, search, seed)
            for search in self._searches
        ]

    def _rewards(self, name, model, token_ids, key) -> tf.Tensor:
        """Rewards of written texts, float32 `(batch,)`."""

        def compute(texts, ended, keys):
            texts = [text.decode(errors="replace") for text in texts]
            rewards = np.asarray(self.reward(texts, ended, keys), np.float32)
            self._seen[name].append(rewards.mean())
            return rewards

        texts = model._texts.unpack(token_ids)
        ended = tf.reduce_any(token_ids[:, 1:] == model._texts.end_id, axis=1)
        rewards = tf.numpy_function(compute, [texts, ended, key], tf.float32)
        return tf.ensure_shape(rewards, key.shape)


def _reinforced(model, x, token_ids, advantage) -> tuple:
    """A batch whose cross-entropy has the gradient of the reward."""
    real = written_words(token_ids, model._texts)
    # Behind its end a text has no meaning.
    words = tf.where(real, token_ids[:, 1:], model._texts.pad_id)
    inputs = {
        **own_inputs(model, x),
        "target_token_ids": tf.concat([token_ids[:, :1], words[:, :-1]], axis=1),
        "target_padding_mask": tf.concat(
            [tf.ones_like(real[:, :1]), real[:, :-1]], axis=1
        ),
    }
    # Start tokens behind the first are given, not written.
    given = len(model._texts.start_tokens) - 1
    learnt = real & (tf.range(model._texts.max_length - 1) >= given)
    *_, weights = mean_over_words((inputs, words, learnt))
    return inputs, words, weights * advantage[:, None]


def written_words(token_ids: tf.Tensor, texts: TokenTexts) -> tf.Tensor:
    """Which words belong to a text that was written, its end included.

    Args:
        token_ids: int tensor `(batch, max_length)`, which begins with the start token.
        texts: Knows the end token.

    Returns:
        bool tensor `(batch, max_length - 1)`, without the start token's place.
    """
    is_end = tf.cast(token_ids[:, 1:] == texts.end_id, tf.int32)
    return tf.cumsum(is_end, axis=1, exclusive=True) == 0


def _key(x) -> tf.Tensor:
    if REFERENCE_KEY not in x:
        raise ValueError(
            f"Batches must tell their examples' references by {REFERENCE_KEY!r}. "
            f"Received: {sorted(x)}. Add kmmft.models.reference_keys(batch['id'])."
        )
    return x[REFERENCE_KEY]


def _check(model) -> None:
    if not hasattr(model, "projections") or not hasattr(model, "decoder"):
        raise ValueError(
            "Self-critical training is for a kmmft.models.FusionGenerator. Received: "
            f"{type(model).__name__}."
        )
    if model.micro_batch_size is not None:
        raise ValueError(
            "A reward is not computed in micro-batches. Received: micro_batch_size="
            f"{model.micro_batch_size}. Set it to None, and use a smaller batch."
        )
    if model.jit_compile:
        raise ValueError(
            "XLA cannot compile a reward that is Python. Received: a model compiled "
            "with jit_compile=True. Compile it with jit_compile=False."
        )
