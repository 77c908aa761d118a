"""What a model's towers make of all records of a split."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import rich.progress
import tensorflow as tf

from kmmft.data import RecordSource, build_dataset, open_source

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


@dataclasses.dataclass(frozen=True)
class RecordVectors:
    """Vectors of a split's records, beside what the records say.

    Attributes:
        vectors: By modality, float32 array `(number, dim)` of rows of length 1; of a
            `kmmft.models.TightVideoText`'s videos, `(number, num_frames, dim)`.
        record_of: By modality, the record's row for each vector, int array
            `(number,)`: 0, 0, 1 where the first record has two captions.
        texts: By modality, the texts that the vectors were made from. A modality that
            is no text is not in it.
        records: By feature, array `(records,)` of what was kept, such as `id`.
        scores: For a model that scores pairs, float32 array of the first modality's
            values with the second's, where `RetrievalEvaluator.encode` was asked.
    """

    vectors: Mapping[str, np.ndarray]
    record_of: Mapping[str, np.ndarray]
    texts: Mapping[str, list[str]]
    records: Mapping[str, np.ndarray]
    scores: np.ndarray | None = None

    @property
    def ids(self) -> list[str]:
        """Each record's id."""
        return [_decoded(value) for value in self.records["id"]]


def encode_records(
    model: keras.Model,
    source: str | os.PathLike | RecordSource,
    split: str,
    features: Mapping[str, str],
    *,
    keep: Sequence[str] = ("id",),
    batch_size: int = 64,
    schema: tfds.features.FeaturesDict | None = None,
    max_bad_fraction: float = 1e-3,
) -> RecordVectors:
    """Encodes every record of a split once, in the order on disk.

    A feature that is a list of texts, such as `captions`, gives one vector for each of
    them. Decoded images are held a batch at a time. A bad record is logged and left
    out, as `kmmft.data.build_dataset` does.

    Args:
        model: A model with `encode(modality, raw, batch_size)` and `decode_record`,
            such as `kmmft.models.DualEncoder`.
        source: A TFDS directory, a glob of shards, or what `open_source` returned.
        split: Name of the split.
        features: By modality, the feature to encode, as in `{"image": "image",
            "text": "captions"}`.
        keep: Further features to keep, scalars.
        batch_size: Examples that are encoded at a time.
        schema: Features of the records; only bare shards need it.
        max_bad_fraction: Largest fraction of records that may be bad.

    Returns:
        `RecordVectors`.

    Raises:
        ValueError: If the records lack a feature, or one of them has no text or an
            empty one.

    Example::

        test = kmmft.evaluation.encode_records(
            model, "data/pets/1.0.0", "test", {"image": "image", "text": "captions"}
        )
        test.vectors["text"].shape
    """
    opened = open_source(source, schema)
    _check_features(opened, [*features.values(), *keep])
    dataset = build_dataset(
        opened,
        split=split,
        preprocess=lambda record: _prepare(model, record, features, keep),
        batch_size=batch_size,
        training=False,
        max_bad_fraction=max_bad_fraction,
    )
    collected = _Collected(model, features, keep, batch_size)
    records = opened.split(split, on_error="skip").num_records
    batches = math.ceil(records / batch_size)
    for batch in _with_progress(dataset, batches, f"encoding {split}"):
        collected.add(batch)
    return collected.finish()


class _Collected:
    """What has come so far: vectors of pictures, and texts that are still to encode."""

    def __init__(self, model, features, keep, batch_size):
        self.model = model
        self.features = features
        self.batch_size = batch_size
        self.num_records = 0
        self.vectors = {modality: [] for modality in features}
        self.record_of = {modality: [] for modality in features}
        self.texts = {modality: [] for modality in features}
        self.records = {name: [] for name in keep}

    def add(self, batch: Mapping[str, tf.Tensor]) -> None:
        for name, parts in self.records.items():
            parts.append(batch[f"kept_{name}"].numpy())
        for modality in self.features:
            values = tf.nest.map_structure(lambda x: x.numpy(), batch[modality])
            length = len(tf.nest.flatten(values)[0])
            if _is_text(batch[modality]):
                self._add_texts(modality, values, batch)
                continue
            rows = np.arange(self.num_records, self.num_records + length)
            self.record_of[modality].extend(rows)
            encoded = self.model.encode(modality, values, self.batch_size)
            self.vectors[modality].append(encoded)
        self.num_records += length

    def _add_texts(self, modality: str, serialized: np.ndarray, batch) -> None:
        for position, value in enumerate(serialized):
            texts = [
                _decoded(text)
                for text in tf.io.parse_tensor(value, tf.string).numpy().tolist()
            ]
            if not texts or not all(text.strip() for text in texts):
                raise ValueError(
                    "Every record must have a text, and no empty one. Received: "
                    f"{self.features[modality]}={texts} in the record "
                    f"{self._name(batch, position)}. Leave it out when the data are "
                    "built."
                )
            row = self.num_records + position
            self.record_of[modality].extend([row] * len(texts))
            self.texts[modality].extend(texts)

    def _name(self, batch: Mapping[str, tf.Tensor], position: int) -> str:
        if "id" in self.records:
            return repr(_decoded(batch["kept_id"].numpy()[position]))
        return f"number {self.num_records + position}"

    def finish(self) -> RecordVectors:
        if not self.num_records:
            raise ValueError(
                "There must be records to encode. Received: only bad ones. Look at "
                "the log for their errors."
            )
        texts = {modality: texts for modality, texts in self.texts.items() if texts}
        for modality, values in texts.items():
            encoded = self.model.encode(modality, values, self.batch_size)
            self.vectors[modality].append(encoded)
        return RecordVectors(
            {m: np.concatenate(parts) for m, parts in self.vectors.items()},
            {m: np.array(rows, np.int64) for m, rows in self.record_of.items()},
            texts,
            {name: np.concatenate(parts) for name, parts in self.records.items()},
        )


def _prepare(
    model: keras.Model,
    record: Mapping[str, tf.Tensor],
    features: Mapping[str, str],
    keep: Sequence[str],
) -> dict[str, tf.Tensor]:
    named = {modality: record[feature] for modality, feature in features.items()}
    decoded = model.decode_record({**record, **named})
    prepared = {f"kept_{name}": record[name] for name in keep}
    for modality in features:
        value = decoded[modality]
        if _is_text(value):
            # Lists of any length, each as one string: batches need fixed shapes.
            value = tf.io.serialize_tensor(tf.reshape(value, [-1]))
        prepared[modality] = value
    return prepared


def _is_text(value: tf.Tensor | Mapping) -> bool:
    # A decoded video is a dict of its frames and their mask.
    return not isinstance(value, Mapping) and value.dtype == tf.string


def _with_progress(
    dataset: tf.data.Dataset, batches: int, description: str
) -> Iterator[Mapping[str, tf.Tensor]]:
    return rich.progress.track(
        dataset,
        description,
        total=batches,
        transient=True,
        disable=not sys.stdout.isatty(),
    )


def _check_features(source: RecordSource, names: Sequence[str]) -> None:
    missing = sorted(set(names) - set(source.features))
    if missing:
        raise ValueError(
            f"The records of {source.path} must have the features to encode and to "
            f"keep. Received: no {', '.join(missing)} among {sorted(source.features)}. "
            "Pass the names that the records have."
        )


def _decoded(text: bytes) -> str:
    return text.decode(errors="replace")
