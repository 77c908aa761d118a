"""Other words for a word, and other captions for a record, from a user's file."""

from __future__ import annotations

import os
from collections.abc import Iterator

import tensorflow as tf

_SEPARATOR = "\t"
# What is no letter and no digit, before and after a word.
_BEFORE, _AFTER = r"^[^\pL\pN]*", r"[^\pL\pN]*$"


class Synonyms:
    """Words that may stand for a word.

    The file has a line for each word: the word and its synonyms, separated by tabs.
    Case does not matter, and a replaced word keeps its first letter's case and the
    punctuation around it. Synonyms may be several words; the word itself may not.

    Args:
        path: The file, UTF-8, also on a remote file system.

    Call arguments:
        words: string tensor `(num_words,)`.
        draws: float tensor `(num_words,)` in [0, 1), which choose among the synonyms.

    Returns:
        string tensor `(num_words,)`; words without synonyms stay.

    Raises:
        ValueError: If a line has no synonym, or more than one word before them.

    Example:
        >>> with open("synonyms.tsv", "w") as file:
        ...     _ = file.write("big\\tlarge\\thuge\\n")
        >>> synonyms = kmmft.data.Synonyms("synonyms.tsv")
        >>> synonyms(tf.constant(["A", "Big,", "cat"]), tf.zeros(3)).numpy()
        array([b'A', b'Large,', b'cat'], dtype=object)
    """

    def __init__(self, path: str | os.PathLike):
        others: dict[str, list[str]] = {}
        for number, (word, *synonyms) in _rows(path):
            if not synonyms or len(word.split()) != 1:
                raise ValueError(
                    "A line must be one word and its synonyms, separated by tabs. "
                    f"Received: {[word, *synonyms]} in line {number} of {path}. Add "
                    "its synonyms, or leave the line out."
                )
            others.setdefault(word.lower(), []).extend(synonyms)
        self._table = _table(path, others)

    def __call__(self, words: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        before = _part(words, _BEFORE, r"[\pL\pN].*$")
        after = _part(words, _AFTER, r"^.*[\pL\pN]")
        core = tf.strings.regex_replace(words, _BEFORE, "")
        core = tf.strings.regex_replace(core, _AFTER, "")
        lower = tf.strings.lower(core, encoding="utf-8")
        found = self._table.lookup(lower)
        chosen = _choose(found, draws)
        first = tf.strings.substr(chosen, 0, 1, unit="UTF8_CHAR")
        rest = tf.strings.regex_replace(chosen, "^.", "")
        capital = tf.strings.upper(first, encoding="utf-8") + rest
        is_capital = tf.strings.substr(
            core, 0, 1, unit="UTF8_CHAR"
        ) != tf.strings.substr(lower, 0, 1, unit="UTF8_CHAR")
        chosen = before + tf.where(is_capital, capital, chosen) + after
        return tf.where(found == "", words, chosen)


class BackTranslations:
    """Other captions for a record: there and back by a translator, or paraphrases.

    The file has a line for each: the record's id and the text, separated by a tab. An
    id may come in several lines. All texts are held in memory.

    Args:
        path: The file, UTF-8, also on a remote file system.

    Call arguments:
        record_id: scalar string tensor.
        caption: scalar string tensor, the record's own.
        draw: float scalar tensor in [0, 1), which chooses.

    Returns:
        scalar string tensor; the own caption for ids that are not in the file.

    Raises:
        ValueError: If a line has not exactly an id and a text.

    Example:
        >>> with open("back_translations.tsv", "w") as file:
        ...     _ = file.write("cat-7\\tA cat is lying on a mat.\\n")
        >>> texts = kmmft.data.BackTranslations("back_translations.tsv")
        >>> texts(tf.constant("cat-7"), tf.constant("A cat lies."), 0.3).numpy()
        b'A cat is lying on a mat.'
    """

    def __init__(self, path: str | os.PathLike):
        others: dict[str, list[str]] = {}
        for number, row in _rows(path):
            if len(row) != 2:
                raise ValueError(
                    "A line must be an id and a text, separated by one tab. Received: "
                    f"{len(row)} columns in line {number} of {path}. Mend the line."
                )
            others.setdefault(row[0], []).append(row[1])
        self._table = _table(path, others)

    def __call__(
        self, record_id: tf.Tensor, caption: tf.Tensor, draw: tf.Tensor
    ) -> tf.Tensor:
        found = self._table.lookup(tf.convert_to_tensor(record_id))
        return tf.where(found == "", caption, _choose(found[tf.newaxis], draw)[0])


def _rows(path: str | os.PathLike) -> Iterator[tuple[int, list[str]]]:
    """Numbers and columns of the lines that are not empty."""
    text = tf.io.gfile.GFile(os.fspath(path), "rb").read()
    try:
        lines = text.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"The file must be UTF-8. Received: {path}, with another byte at "
            f"{error.start}. Save it as UTF-8."
        ) from error
    for number, line in enumerate(lines, 1):
        columns = [column.strip() for column in line.split(_SEPARATOR)]
        columns = [column for column in columns if column]
        if columns:
            yield number, columns


def _table(
    path: str | os.PathLike, others: dict[str, list[str]]
) -> tf.lookup.StaticHashTable:
    if not others:
        raise ValueError(f"The file must have a line. Received: {path}, with none.")
    values = [_SEPARATOR.join(texts) for texts in others.values()]
    with tf.init_scope():
        return tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant([*others]), values), ""
        )


def _choose(found: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """One of the texts in each row; all are as likely."""
    texts = tf.strings.split(found, _SEPARATOR)
    counts = texts.row_lengths()
    draws = tf.cast(tf.reshape(draws, [-1]), tf.float64)
    places = tf.cast(draws * tf.cast(counts, tf.float64), tf.int64)
    # Splitting nothing gives no text.
    filled = tf.concat([texts, tf.fill([tf.size(found), 1], "")], axis=1)
    return tf.gather(filled, places, batch_dims=1)


def _part(words: tf.Tensor, pattern: str, rest: str) -> tf.Tensor:
    """What matches `pattern`; words without letter or digit count as `before`."""
    part = tf.strings.regex_replace(words, rest, "")
    has_core = tf.strings.regex_full_match(words, r".*[\pL\pN].*")
    return tf.where(has_core, part, "")
