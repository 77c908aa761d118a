"""What a model writes about all records of a split, beside what people wrote."""

from __future__ import annotations

import collections
import dataclasses
import math
import sys
from collections.abc import Iterator, Mapping

import keras
import rich.progress
import tensorflow as tf

from kmmft.data import RecordSource, build_dataset
from kmmft.metrics import caption_metrics


@dataclasses.dataclass(frozen=True)
class WrittenTexts:
    """Texts of a split's records.

    Attributes:
        ids: The records' ids.
        texts: What was written about each.
        references: What people wrote about each, one text or several.
    """

    ids: list[str]
    texts: list[str]
    references: list[list[str]]

    def metrics(self) -> dict[str, float]:
        """As `kmmft.metrics.caption_metrics`."""
        return caption_metrics(self.texts, self.references)


def write_about_records(
    model: keras.Model,
    source: RecordSource,
    split: str,
    references: str = "captions",
    *,
    batch_size: int = 64,
    max_bad_fraction: float = 1e-3,
) -> WrittenTexts:
    """Writes a text about every record of a split, in the order on disk.

    A bad record is logged and left out, as `kmmft.data.build_dataset` does.

    Args:
        model: `kmmft.models.FusionGenerator` or `CoCa`; its own search is used.
        source: Where the records are; they have an `id`.
        split: Name of the split.
        references: Feature with people's texts, a list.
        batch_size: Examples that are written about at a time.
        max_bad_fraction: Largest fraction of records that may be bad.

    Returns:
        `WrittenTexts`.

    Raises:
        ValueError: If there is no record, or one has no reference.

    Example::

        written = kmmft.evaluation.write_about_records(model, source, "test")
        written.metrics()["cider_d"]
    """
    ids, texts, lists = [], [], []
    for batch, people in captioned_batches(
        model, source, split, references, batch_size, max_bad_fraction
    ):
        ids += [name.decode(errors="replace") for name in batch["id"].numpy()]
        texts += [text.decode(errors="replace") for text in model.generate_batch(batch)]
        lists += people
    return WrittenTexts(ids, texts, lists)


def captioned_batches(
    model: keras.Model,
    source: RecordSource,
    split: str,
    references: str,
    batch_size: int,
    max_bad_fraction: float,
) -> Iterator[tuple[Mapping[str, tf.Tensor], list[list[str]]]]:
    """A split's batches of encoders' inputs and ids, each with its lists of texts."""

    def prepare(record):
        decoded = model.decode_record(record)
        # Lists of any length, each as one string: batches need fixed shapes.
        people = tf.io.serialize_tensor(record[references])
        own = {name: decoded[name] for name in (*model.written_about, "id")}
        return {**own, "people": people}

    def prepare_batch(batch):
        inputs = [
            model.preprocess_modality(modality, batch[modality])
            for modality in model.written_about
        ]
        return dict(batch, **collections.ChainMap(*inputs))

    dataset = build_dataset(
        source,
        split=split,
        preprocess=prepare,
        batch_preprocess=prepare_batch,
        batch_size=batch_size,
        training=False,
        max_bad_fraction=max_bad_fraction,
    )
    for batch in rich.progress.track(
        dataset,
        f"reading {split}",
        total=math.ceil(source.split(split, on_error="skip").num_records / batch_size),
        transient=True,
        disable=not sys.stdout.isatty(),
    ):
        lists = [
            [
                text.decode(errors="replace")
                for text in tf.io.parse_tensor(serialized, tf.string).numpy()
            ]
            for serialized in batch["people"].numpy()
        ]
        yield batch, lists
