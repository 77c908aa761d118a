"""Random changes to texts that are a pure function of the text and a seed."""

import dataclasses

import tensorflow as tf

from kmmft.data.text_tables import BackTranslations, Synonyms

# Tells these draws from those of an image's augmentation with the same seed.
_SALT = 0x74657874


@dataclasses.dataclass(frozen=True)
class TextAugmentation:
    """Rewords a text, takes words out of it, or leaves it out.

    The steps come in this order: back-translation, synonyms, dropped words, a dropped
    span, dropped caption. One word is always left, but for a dropped caption. Words
    are what spaces separate; a text that loses or changes a word has single spaces.

    Args:
        back_translations: Other texts by record id.
        back_translation_rate: Probability of one of them instead of the text. 0.5 if
            there are any.
        synonyms: Synonyms by word.
        synonym_rate: Probability, for each word, of one of its synonyms.
        word_dropout_rate: Probability, for each word, of being left out.
        span_dropout_rate: Probability of leaving out one run of words.
        span_dropout_length: Longest run, as a fraction of the words.
        caption_dropout_rate: Probability of `empty_text` instead of the text, as for
            classifier-free guidance.
        empty_text: What stands for no text.

    Call arguments:
        text: scalar string tensor.
        seed: int tensor `(2,)`.
        record_id: scalar string tensor, which back-translations need.

    Returns:
        scalar string tensor.

    Raises:
        ValueError: If a rate is not between 0 and 1, or `record_id` is needed.

    Example:
        >>> augmentation = kmmft.data.TextAugmentation(word_dropout_rate=0.5)
        >>> augmentation("a cat on a mat", seed=(0, 3)).numpy()
        b'a on mat'

    References:
        - [Wei and Zou, 2019](https://arxiv.org/abs/1901.11196), section 2 (synonyms,
          dropped words).
        - [Sennrich et al., 2015](https://arxiv.org/abs/1511.06709), section 3
          (back-translation).
        - [Ho and Salimans, 2022](https://arxiv.org/abs/2207.12598), section 3.2
          (classifier-free guidance).
    """

    back_translations: BackTranslations | None = None
    back_translation_rate: float = 0.5
    synonyms: Synonyms | None = None
    synonym_rate: float = 0.1
    word_dropout_rate: float = 0.0
    span_dropout_rate: float = 0.0
    span_dropout_length: float = 0.3
    caption_dropout_rate: float = 0.0
    empty_text: str = ""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type in (float, "float") and not 0 <= value <= 1:
                raise ValueError(
                    f"`{field.name}` must be between 0 and 1. "
                    f"Received: {field.name}={value}. Pass a probability."
                )

    def __call__(
        self, text: tf.Tensor, seed: tf.Tensor, record_id: tf.Tensor | None = None
    ) -> tf.Tensor:
        text = tf.convert_to_tensor(text, tf.string)
        salted = tf.random.experimental.stateless_fold_in(
            tf.convert_to_tensor(seed), _SALT
        )
        seeds = tf.unstack(tf.random.split(salted, 3))
        draws = tf.unstack(tf.random.stateless_uniform((7,), seeds[0]))
        if self.back_translations is not None:
            text = self._back_translated(text, record_id, draws[0], draws[1])
        if self.synonyms is not None:
            text = self._reworded(text, seeds[1])
        if self.word_dropout_rate:
            text = self._without_words(text, seeds[2], draws[2])
        if self.span_dropout_rate:
            text = self._without_span(text, *draws[3:6])
        if self.caption_dropout_rate:
            text = tf.where(draws[6] < self.caption_dropout_rate, self.empty_text, text)
        return text

    def _back_translated(self, text, record_id, draw, choice):
        if record_id is None:
            raise ValueError(
                "Back-translations are by the id of a record. "
                'Received: record_id=None. Pass record["id"].'
            )
        other = self.back_translations(record_id, text, choice)
        return tf.where(draw < self.back_translation_rate, other, text)

    def _reworded(self, text, seed):
        words = tf.strings.split(text)
        draws = tf.random.stateless_uniform((2, tf.size(words)), seed)
        changed = self.synonyms(words, draws[1])
        return _joined(
            words, tf.where(draws[0] < self.synonym_rate, changed, words), text
        )

    def _without_words(self, text, seed, choice):
        words = tf.strings.split(text)
        count = tf.size(words)
        kept = tf.random.stateless_uniform((count,), seed) >= self.word_dropout_rate
        # If all are to go, one at random stays.
        last = tf.cast(choice * tf.cast(count, tf.float32), tf.int32)
        kept = tf.where(tf.reduce_any(kept), kept, tf.range(count) == last)
        return _joined(words, tf.boolean_mask(words, kept), text)

    def _without_span(self, text, draw, length, place):
        words = tf.strings.split(text)
        count = tf.size(words)
        longest = tf.cast(
            self.span_dropout_length * tf.cast(count, tf.float32), tf.int32
        )
        longest = tf.minimum(longest, count - 1)
        length = 1 + tf.cast(length * tf.cast(longest, tf.float32), tf.int32)
        length = tf.minimum(length, longest)
        start = tf.cast(place * tf.cast(count - length + 1, tf.float32), tf.int32)
        number = tf.range(count)
        kept = (number < start) | (number >= start + length)
        shorter = _joined(words, tf.boolean_mask(words, kept), text)
        return tf.where((draw < self.span_dropout_rate) & (longest > 0), shorter, text)


def _joined(before: tf.Tensor, after: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
    """The words after a change; the text as it was if there was none."""
    same = tf.cond(
        tf.size(before) == tf.size(after),
        lambda: tf.reduce_all(before == after),
        lambda: False,
    )
    return tf.where(same, text, tf.strings.reduce_join(after, separator=" "))
