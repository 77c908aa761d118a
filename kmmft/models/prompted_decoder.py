"""Pretrained language models that write behind a context and a prompt."""

import keras
import tensorflow as tf
from keras import ops

from kmmft.models.pretrained_decoder import PretrainedDecoder


class PromptedDecoder(PretrainedDecoder, keras.layers.Layer):
    """A language model that writes behind a context, each word seeing all before it.

    What is padding in the context goes before everything else: as in pretraining, the
    text follows the prompt directly. The first word is written in the place of the
    context's last token, whose vector is read in place of a text's start token.

    What the blocks are told of each token are its marks, such as whether it is real.

    Attributes:
        written: Names of the blocks' marks, and what they are for written words.
        step_marks: Those that the blocks need when they write word by word.
    """

    written: dict[str, bool]
    step_marks: tuple[str, ...]

    def call(self, token_ids, context, context_mask, padding_mask=None, training=None):
        context, marks = self._read(context, context_mask)
        words = self._words(token_ids[:, 1:])
        x = ops.concatenate([context, words], axis=1)
        marks = self._with_written(marks, ops.shape(words)[1])
        x = self._run(x, marks)
        return self._logits(x[:, ops.shape(context)[1] - 1 :])

    def begin(
        self, context: tf.Tensor, context_mask: tf.Tensor, length: int
    ) -> tuple[dict, list]:
        """As `CrossAttentionDecoder.begin`; the cache holds the context already."""
        context, marks = self._read(context, context_mask)
        batch, width = ops.shape(context)[0], ops.shape(context)[1]
        empty = [self._empty_cache(batch, width)] * len(self.blocks)
        _, cache = self._cached_blocks(context, 0, marks, empty)
        marks = self._with_written(marks, length - 1)
        memory = {
            "last": context[:, -1:],
            "place": ops.ones((batch,), "int32") * (width - 1),
            **{name: marks[name] for name in self.step_marks},
        }

        def with_room(own):
            before = [[0, 0]] * (own.shape.rank - 3)
            return tf.pad(own, [*before, [0, length - 1], [0, 0], [0, 0]])

        return memory, tf.nest.map_structure(with_room, cache)

    def step(
        self, token_ids: tf.Tensor, index: tf.Tensor, memory: dict, cache: list
    ) -> tuple[tf.Tensor, list]:
        """As `CrossAttentionDecoder.step`."""
        words = self._words(token_ids)
        words = ops.where(ops.equal(index, 0), memory["last"], words)
        marks = {name: memory[name] for name in self.step_marks}
        place = memory["place"][0] + index
        x, cache = self._cached_blocks(words, place, marks, cache)
        return self._logits(x)[:, 0], cache

    def _words(self, token_ids):
        """Vectors of words `(batch, length, hidden_dim)`, whatever their places."""
        raise NotImplementedError

    def _with_prompt(self, context, mask) -> tuple:
        """The context with the prompt in its place, and marks of all tokens."""
        raise NotImplementedError

    def _empty_cache(self, batch, width):
        """Keys and values of one block, `(..., width, heads, head_dim)`."""
        raise NotImplementedError

    def _run(self, x, marks):
        """All blocks on whole rows."""
        raise NotImplementedError

    def _cached_blocks(self, x, place, marks, cache) -> tuple:
        """All blocks on what stands at `place` and behind it, and their caches."""
        raise NotImplementedError

    def _insert(self, token_ids, place, context, mask) -> tuple:
        """Context and mask with words before a place of the context."""
        if not token_ids:
            return context, mask
        return with_words(self._words(ops.array([token_ids])), place, context, mask)

    def _read(self, context, mask):
        """The context with its prompt, and its marks, all padding in front."""
        context, mask = ops.cast(context, self.compute_dtype), ops.cast(mask, "bool")
        context, marks = self._with_prompt(context, mask)
        mask = marks["padding_mask"]
        width = ops.shape(mask)[1]
        places = ops.arange(width)
        order = ops.argsort(ops.where(mask, places + width, places), axis=1)
        return (
            tf.gather(context, order, batch_dims=1),
            {n: tf.gather(own, order, batch_dims=1) for n, own in marks.items()},
        )

    def _with_written(self, marks, length) -> dict:
        """The marks with those of `length` written words behind them."""
        shape = (ops.shape(marks["padding_mask"])[0], length)
        return {
            name: ops.concatenate([own, ops.full(shape, self.written[name])], axis=1)
            for name, own in marks.items()
        }

    def _logits(self, x):
        return ops.cast(self.token_embedding(self.norm(x), reverse=True), "float32")

    def compute_output_shape(self, token_ids_shape, *_, **__):
        return (*token_ids_shape, self.vocabulary_size)


def with_words(words, place, context, mask) -> tuple:
    """A context and its mask with the same words in each row.

    Args:
        words: Their vectors, `(1, count, hidden_dim)`.
        place: Of the context, before which they stand.
        context: float tensor `(batch, length, hidden_dim)`.
        mask: bool tensor `(batch, length)`, True marks real tokens.

    Returns:
        Both, `count` places longer.
    """
    shape = (ops.shape(context)[0], *words.shape[1:])
    words, real = ops.broadcast_to(words, shape), ops.ones(shape[:2], "bool")
    return tuple(
        ops.concatenate([own[:, :place], new, own[:, place:]], axis=1)
        for own, new in ((context, words), (mask, real))
    )
