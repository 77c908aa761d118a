"""A list of strings, such as answers, and the ids that stand for them."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from kmmft.data.parsing import parse_record
from kmmft.data.reading import RecordSource, open_source
from kmmft.data.record_reading import read_records

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


class Vocabulary:
    """Turns strings into ids and back, in graph.

    The id of an entry is its place in the list. Both ways are made of constants only,
    with no table to initialise or to track, so they can be exported from anywhere.

    Args:
        entries: The strings, each once.
        unknown_id: Id of strings that are not among them. `None`: they are an error.

    Raises:
        ValueError: If there are no entries, or one comes twice, or holds a line break.

    Example:
        >>> answers = kmmft.data.Vocabulary(["no", "yes"])
        >>> answers.lookup(tf.constant(["yes", "no"])).numpy()
        array([1, 0], dtype=int32)
        >>> answers.names(tf.constant([0])).numpy()
        array([b'no'], dtype=object)
    """

    def __init__(self, entries: Sequence[str], unknown_id: int | None = None):
        self.entries = list(entries)
        self.unknown_id = unknown_id
        twice = [
            entry
            for entry, count in collections.Counter(self.entries).items()
            if count > 1
        ]
        if not self.entries or twice:
            raise ValueError(
                "A vocabulary must have entries, each of them once. Received: "
                f"{len(self.entries)} entries, twice or more: {twice[:5]}. Leave out "
                "what comes twice."
            )
        if any("\n" in entry or "\r" in entry for entry in self.entries):
            raise ValueError(
                "Entries must not hold line breaks, since they are saved one a line. "
                f"Received: {[e for e in self.entries if len(e.splitlines()) > 1][:3]}."
                " Replace them by spaces."
            )
        hashes = _hash(tf.constant(self.entries)).numpy()
        self._order = np.argsort(hashes)
        self._hashes = hashes[self._order]
        if (np.diff(self._hashes) == 0).any():
            raise ValueError(
                "Two entries must not have the same hash. Received: such entries, by "
                "a chance of one in 10 to the power of 10. Change one of them."
            )

    def __len__(self) -> int:
        return len(self.entries)

    def lookup(self, strings: tf.Tensor) -> tf.Tensor:
        """Looks up ids.

        Args:
            strings: string tensor of any shape.

        Returns:
            int32 tensor of the same shape.

        Raises:
            tf.errors.InvalidArgumentError: If a string is unknown and there is no
                `unknown_id`.
        """
        strings = tf.convert_to_tensor(strings)
        places = tf.searchsorted(self._hashes, tf.reshape(_hash(strings), (-1,)))
        places = tf.minimum(places, len(self) - 1)
        ids = tf.reshape(tf.gather(self._order, places), tf.shape(strings))
        ids = tf.cast(tf.ensure_shape(ids, strings.shape), tf.int32)
        known = self.names(ids) == strings
        if self.unknown_id is not None:
            return tf.where(known, ids, self.unknown_id)
        check = tf.debugging.Assert(
            tf.reduce_all(known),
            [
                "Not in the vocabulary:",
                tf.strings.reduce_join(
                    tf.reshape(strings, [-1])[~tf.reshape(known, [-1])][:3],
                    separator=", ",
                ),
            ],
        )
        with tf.control_dependencies([] if check is None else [check]):
            return tf.identity(ids)

    def names(self, ids: tf.Tensor) -> tf.Tensor:
        """Looks up strings.

        Args:
            ids: int tensor of any shape.

        Returns:
            string tensor of the same shape.

        Raises:
            tf.errors.InvalidArgumentError: If an id is not in the vocabulary.
        """
        return tf.gather(tf.constant(self.entries), ids)

    def save(self, path: str | os.PathLike) -> None:
        """Saves the entries, one a line.

        Args:
            path: The file. It is replaced at once, so no half of it can be read.
        """
        temporary = f"{os.fspath(path)}.{os.getpid()}.temporary"
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{entry}\n" for entry in self.entries)
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: str | os.PathLike, unknown_id: int | None = None) -> Vocabulary:
        """Loads what `save` saved.

        Args:
            path: The file.
            unknown_id: As in the constructor.

        Returns:
            `Vocabulary`.
        """
        with open(path, encoding="utf-8", newline="\n") as file:
            return cls(file.read().removesuffix("\n").split("\n"), unknown_id)

    @classmethod
    def from_records(
        cls,
        source: str | os.PathLike | RecordSource,
        split: str,
        feature: str,
        max_size: int | None = None,
        unknown_id: int | None = None,
        schema: tfds.features.FeaturesDict | None = None,
    ) -> Vocabulary:
        """Counts the strings of one feature; the most frequent come first.

        Equally frequent ones come in alphabetical order.

        Args:
            source: As in `build_dataset`.
            split: Name of the split, for training only as a rule.
            feature: Name of a text feature, or of a sequence of texts.
            max_size: Keep only so many.
            unknown_id: As in the constructor.
            schema: As in `build_dataset`.

        Returns:
            `Vocabulary`.

        Raises:
            ValueError: If there is no such feature.
        """
        opened = open_source(source, schema)
        if feature not in opened.features:
            raise ValueError(
                f"`feature` must be one of {sorted(opened.features)}. "
                f"Received: feature={feature!r}. Choose a text feature."
            )
        only = type(opened.features)({feature: opened.features[feature]})
        records = read_records(opened, split).map(
            lambda record: tf.reshape(parse_record(record, only)[feature], (-1,))
        )
        return cls(_by_frequency(records)[:max_size], unknown_id)

    @classmethod
    def load_or_build(
        cls,
        source: str | os.PathLike | RecordSource,
        split: str,
        feature: str,
        max_size: int | None = None,
        unknown_id: int | None = None,
    ) -> Vocabulary:
        """Loads `<feature>.vocabulary.txt` beside the data, or builds and saves it.

        Args:
            source: A TFDS directory.
            split: As in `from_records`.
            feature: As in `from_records`.
            max_size: As in `from_records`.
            unknown_id: As in the constructor.

        Returns:
            `Vocabulary`.

        Raises:
            ValueError: If the saved vocabulary has more than `max_size` entries.
        """
        opened = open_source(source)
        is_directory = os.path.isdir(opened.path)
        directory = opened.path if is_directory else os.path.dirname(opened.path)
        path = os.path.join(directory, f"{feature}.vocabulary.txt")
        if not os.path.isfile(path):
            cls.from_records(opened, split, feature, max_size).save(path)
        loaded = cls.load(path, unknown_id)
        if max_size is not None and len(loaded) > max_size:
            raise ValueError(
                "The saved vocabulary must not be larger than `max_size`. Received: "
                f"max_size={max_size}, {len(loaded)} entries in {path}. Delete it to "
                "have it built again."
            )
        return loaded


def _hash(strings: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_hash_bucket_fast(strings, tf.int64.max)


def _by_frequency(records: Iterable[tf.Tensor]) -> list[str]:
    counts: collections.Counter[str] = collections.Counter()
    for strings in records:
        counts.update(string.decode() for string in strings.numpy())
    return sorted(counts, key=lambda string: (-counts[string], string))
