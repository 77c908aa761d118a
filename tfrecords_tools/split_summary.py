"""What the records of one split hold, in numbers."""

import collections
import io
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrecords_tools.audio_bytes import audio_extension
from tfrecords_tools.record_values import kinds_of

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_datasets as tfds

TOP_WORDS = 20
_QUANTILES = {"min": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1.0}
_BINS = 16
_CHARACTERS_OF_SCRIPTS = 200_000


def distribution(values: Sequence[float]) -> dict[str, Any]:
    """Quantiles and a histogram of numbers; empty if there are none.

    Example:
        >>> found = distribution([1, 2, 3, 4, 5])
        >>> found["median"], found["max"], sum(found["histogram"])
        (3.0, 5.0, 5)
    """
    if not len(values):
        return {}
    points = np.quantile(values, list(_QUANTILES.values())).tolist()
    counts, _ = np.histogram(values, bins=_BINS)
    return dict(zip(_QUANTILES, points, strict=True)) | {"histogram": counts.tolist()}


class SplitSummary:
    """Takes in records one by one, and sums up what they hold.

    Args:
        features: What the records are.
    """

    def __init__(self, features: "tfds.features.FeaturesDict"):
        by_kind = collections.defaultdict(list)
        for name, kind in kinds_of(features).items():
            by_kind[kind.removesuffix("s")].append(name)
        self._texts = {name: _Texts() for name in by_kind["text"] if name != "id"}
        self._images = {name: _Images() for name in by_kind["image"]}
        self._sounds = {name: _Sounds() for name in by_kind["audio"]}
        self._labels = {name: collections.Counter() for name in by_kind["label"]}
        self._class_names = {name: features[name].names for name in self._labels}

    def add(self, example: "tf.train.Example") -> None:
        """Takes in one record."""
        values = example.features.feature
        for name, texts in self._texts.items():
            texts.add(values[name].bytes_list.value)
        for name, images in self._images.items():
            images.add(values[name].bytes_list.value)
        for name, sounds in self._sounds.items():
            sounds.add(values[name].bytes_list.value, values)
        for name, labels in self._labels.items():
            labels.update(values[name].int64_list.value)

    def summary(self) -> dict[str, Any]:
        """The numbers, as JSON can hold them."""
        return {
            "texts": {name: texts.summary() for name, texts in self._texts.items()},
            "images": {name: images.summary() for name, images in self._images.items()},
            "sounds": {name: sounds.summary() for name, sounds in self._sounds.items()},
            "labels": {
                name: _labels(counts, self._class_names[name])
                for name, counts in self._labels.items()
            },
        }


class _Texts:
    def __init__(self):
        self.per_record: list[int] = []
        self.words: list[int] = []
        self.characters: list[int] = []
        self.seen: set[int] = set()
        self.repeated = 0
        self.counts: collections.Counter = collections.Counter()
        self.scripts: collections.Counter = collections.Counter()

    def add(self, texts: Sequence[bytes]) -> None:
        self.per_record.append(len(texts))
        for raw in texts:
            text = raw.decode(errors="replace")
            words = re.findall(r"\w+", text.lower())
            self.words.append(len(words))
            self.characters.append(len(text))
            # The hash is enough to tell texts apart, and smaller than they are.
            key = hash(raw)
            self.repeated += key in self.seen
            self.seen.add(key)
            self.counts.update(words)
            if self.scripts.total() < _CHARACTERS_OF_SCRIPTS:
                self.scripts.update(filter(None, map(_script, text)))

    def summary(self) -> dict[str, Any]:
        letters = max(self.scripts.total(), 1)
        return {
            "count": len(self.words),
            "per_record": distribution(self.per_record),
            "words": distribution(self.words),
            "characters": distribution(self.characters),
            "empty": self.characters.count(0),
            "repeated": self.repeated,
            "scripts": {k: n / letters for k, n in self.scripts.most_common(5)},
            "top_words": dict(self.counts.most_common(TOP_WORDS)),
        }


class _Images:
    def __init__(self):
        self.sizes: list[tuple[int, int]] = []
        self.num_bytes: list[int] = []
        self.formats: collections.Counter = collections.Counter()
        self.unreadable = 0
        self.missing = 0

    def add(self, images: Sequence[bytes]) -> None:
        import PIL.Image

        for encoded in images:
            if not encoded:
                self.missing += 1
                continue
            self.num_bytes.append(len(encoded))
            try:
                # Reads the header only.
                with PIL.Image.open(io.BytesIO(encoded)) as image:
                    self.sizes.append(image.size)
                    self.formats[image.format] += 1
            except (OSError, PIL.Image.DecompressionBombError):
                self.unreadable += 1

    def summary(self) -> dict[str, Any]:
        widths, heights = zip(*self.sizes, strict=True) if self.sizes else ((), ())
        aspects = np.divide(widths, heights) if self.sizes else ()
        return {
            "count": len(self.num_bytes),
            "formats": dict(self.formats.most_common()),
            "unreadable": self.unreadable,
            "missing": self.missing,
            "width": distribution(widths),
            "height": distribution(heights),
            "aspect_ratio": distribution(aspects),
            "bytes": distribution(self.num_bytes),
        }


class _Sounds:
    def __init__(self):
        self.seconds: list[float] = []
        self.num_bytes: list[int] = []
        self.rates: collections.Counter = collections.Counter()
        self.formats: collections.Counter = collections.Counter()

    def add(self, sounds: Sequence[bytes], values: Mapping[str, Any]) -> None:
        for encoded in sounds:
            self.num_bytes.append(len(encoded))
            self.formats[audio_extension(encoded)] += 1
        # They stand beside the sound, so that it need not be opened.
        rates = values["sample_rate"].int64_list.value
        lengths = values["num_samples"].int64_list.value
        for rate, length in zip(rates, lengths, strict=False):
            self.rates[rate] += 1
            self.seconds.append(length / max(rate, 1))

    def summary(self) -> dict[str, Any]:
        return {
            "count": len(self.num_bytes),
            "formats": dict(self.formats.most_common()),
            "rates": dict(self.rates.most_common()),
            "hours": sum(self.seconds) / 3600,
            "seconds": distribution(self.seconds),
            "bytes": distribution(self.num_bytes),
        }


def _labels(counts: collections.Counter, names: Sequence[str]) -> dict[str, Any]:
    """Counts by class, and how even they are: 1 if all classes have as many."""
    total = counts.total()
    shares = [count / total for count in counts.values() if count]
    entropy = -sum(share * math.log(share) for share in shares)
    known = {name: counts[index] for index, name in enumerate(names)}
    return {
        "counts": dict(sorted(known.items(), key=lambda item: -item[1])),
        "unlabelled": total - sum(known.values()),
        "balance": entropy / math.log(len(names)) if len(names) > 1 else 1.0,
    }


def _script(character: str) -> str | None:
    """The writing system of a letter, such as latin; None for what is no letter."""
    if not character.isalpha():
        return None
    return unicodedata.name(character, "unknown").split()[0].lower()
