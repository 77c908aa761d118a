"""Where answers stand among the tokens, and where a model finds them. In graphs."""

import dataclasses

import tensorflow as tf

from kmmft.models.context_windows import PackedWindows, TokenisedContexts

# How often a window with the answer is drawn where there are both kinds.
ANSWER_SHARE = 0.8
_NEVER = -1e9


def answer_places(
    contexts: TokenisedContexts,
    context: tf.Tensor,
    answer: tf.Tensor,
    answer_start: tf.Tensor,
) -> tf.Tensor:
    """First and last token of the words that an answer touches.

    Args:
        contexts: Of `ContextWindows.tokenise`.
        context: string tensor `(batch,)`.
        answer: string tensor `(batch,)`.
        answer_start: int64 tensor `(batch,)`, place of the answer in characters; -1
            for none.

    Returns:
        int32 tensor `(batch, 2)`, places in the whole context; -1 for none.
    """
    before = tf.strings.substr(
        context,
        tf.zeros_like(answer_start),
        tf.maximum(answer_start, 0),
        unit="UTF8_CHAR",
    )
    begin = tf.cast(tf.strings.length(before), tf.int64)
    end = begin + tf.cast(tf.strings.length(answer), tf.int64)
    words, row = contexts.words, contexts.row
    rows = words.words.value_rowids()
    touched = (words.ends.flat_values > tf.gather(begin, rows)) & (
        words.starts.flat_values < tf.gather(end, rows)
    )
    touched &= tf.gather(answer_start, rows) >= 0
    word = row.word.values + tf.gather(
        words.words.row_starts(), row.tokens.value_rowids()
    )
    token = tf.gather(touched, word)
    dense = row.tokens.with_values(token).to_tensor(False)
    # A batch without a token has no column to look at.
    dense = tf.pad(dense, [[0, 0], [0, 1]])
    first = tf.argmax(dense, axis=1, output_type=tf.int32)
    backwards = tf.argmax(dense[:, ::-1], axis=1, output_type=tf.int32)
    last = tf.shape(dense)[1] - 1 - backwards
    found = tf.reduce_any(dense, axis=1)
    return tf.where(found[:, None], tf.stack([first, last], axis=1), -1)


def choose_windows(
    contexts: TokenisedContexts, spans: tf.Tensor, draw: tf.Tensor
) -> tf.Tensor:
    """One window of each context.

    Args:
        contexts: Of `ContextWindows.tokenise`.
        spans: What `answer_places` returned.
        draw: float32 tensor `(batch, 2)` in [0, 1): whether the window holds the
            answer (in `ANSWER_SHARE` of all cases, where it can), and which of these.

    Returns:
        int32 tensor `(batch,)`, the first token of the window.
    """
    starts = contexts.starts.to_tensor(-1)
    real = starts >= 0
    held = (spans[:, :1] >= starts) & (spans[:, 1:] < starts + contexts.room[:, None])
    held &= real & (spans[:, :1] >= 0)
    any_held, all_held = tf.reduce_any(held, 1), tf.reduce_all(held | ~real, 1)
    with_answer = any_held & ((draw[:, 0] < ANSWER_SHARE) | all_held)
    allowed = tf.where(with_answer[:, None], held, real & ~held)
    count = tf.reduce_sum(tf.cast(allowed, tf.int32), axis=1)
    chosen = tf.cast(draw[:, 1] * tf.cast(count, tf.float32), tf.int32)
    chosen = tf.minimum(chosen, count - 1)
    order = tf.cumsum(tf.cast(allowed, tf.int32), axis=1) - 1
    place = tf.argmax(allowed & (order == chosen[:, None]), axis=1)
    return tf.gather(starts, place, batch_dims=1)


@dataclasses.dataclass(frozen=True)
class FoundSpans:
    """The best answer of each window.

    Attributes:
        first: int64 tensor `(windows,)`, number of its first word; -1 where a window
            holds no word.
        last: Likewise of its last word.
        score: float32 tensor, sum of the two logits.
        no_answer: Likewise, of there being no answer.
    """

    first: tf.Tensor
    last: tf.Tensor
    score: tf.Tensor
    no_answer: tf.Tensor

    def of_examples(
        self, starts: tf.RaggedTensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The best of all windows of each example.

        Args:
            starts: Ragged tensor `(batch, None)`, with a value for each window.

        Returns:
            First and last word, and the probability that there is no answer: by the
            window that doubts that most, against the best answer.
        """
        score = starts.with_values(self.score).to_tensor(2 * _NEVER - 1)
        best = tf.argmax(score, axis=1)
        silence = starts.with_values(self.no_answer).to_tensor(tf.float32.max)
        silence = tf.sigmoid(tf.reduce_min(silence, 1) - tf.reduce_max(score, 1))
        first, last = (
            tf.gather(starts.with_values(x).to_tensor(-1), best, batch_dims=1)
            for x in (self.first, self.last)
        )
        return first, last, silence


def best_spans(
    logits: tf.Tensor, windows: PackedWindows, max_answer_tokens: int
) -> FoundSpans:
    """Looks at all pairs of a word's first token and the same or a later word's last.

    Args:
        logits: float32 tensor `(windows, 2, length)`.
        windows: The windows that were read.
        max_answer_tokens: Longest answer.

    Returns:
        `FoundSpans`.
    """
    begin = tf.where(windows.is_first, logits[:, 0], _NEVER)
    end = tf.where(windows.is_last, logits[:, 1], _NEVER)
    length = logits.shape[2]
    scores = begin[:, :, None] + end[:, None, :]
    forwards = tf.linalg.band_part(
        tf.ones([length, length], tf.bool), 0, min(max_answer_tokens, length) - 1
    )
    flat = tf.reshape(tf.where(forwards, scores, 2 * _NEVER), [-1, length * length])
    best = tf.argmax(flat, axis=1)
    score = tf.reduce_max(flat, axis=1)
    first = tf.gather(windows.word, best // length, batch_dims=1)
    last = tf.gather(windows.word, best % length, batch_dims=1)
    possible = score > _NEVER / 2
    no_answer = logits[:, 0, 0] + logits[:, 1, 0]
    return FoundSpans(
        tf.where(possible, first, -1), tf.where(possible, last, -1), score, no_answer
    )
