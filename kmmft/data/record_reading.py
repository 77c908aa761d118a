"""Reading the records of a split once, in order, without making batches of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import tensorflow as tf

from kmmft.data.bad_record_report import bad_record_report
from kmmft.data.cores import usable_cores
from kmmft.data.data_errors import clear_data_errors
from kmmft.data.dataset import training_options
from kmmft.data.dataset_arguments import check_on_error
from kmmft.data.isolation import CHUNK_RECORDS, isolate_failures
from kmmft.data.parsing import parse_record
from kmmft.data.reading import READ_BUFFER_BYTES, RecordSource, Split, open_source
from kmmft.data.record_reader import RecordReader

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def read_records(
    source: str | os.PathLike | RecordSource,
    split: str,
    schema: tfds.features.FeaturesDict | None = None,
    *,
    on_error: str = "raise",
    max_bad_fraction: float = 1.0,
) -> tf.data.Dataset:
    """Reads the serialised records of a split once, in the order of the shards.

    Args:
        source: What `open_source` opens.
        split: Name of the split.
        schema: As in `open_source`.
        on_error: `"skip"`, records that are damaged, or lack a feature, are left out
            and logged, as `build_dataset` does; `"raise"`, they are errors.
        max_bad_fraction: Largest fraction of the split that may be skipped; one
            record always may, unless it is 0. More are an error while reading.

    Returns:
        `tf.data.Dataset` of scalar strings, the serialised `tf.train.Example`s.

    Raises:
        ValueError: If the source or the split is not sound, or an argument not valid.

    Example:
        >>> features = kmmft.data.schema.labelled(image=False, class_names=["good"])
        >>> with tf.io.TFRecordWriter("reviews-train.tfrecord") as writer:
        ...     for payload in (b"one", b"two"):
        ...         writer.write(payload)
        >>> records = kmmft.data.read_records("reviews-*", "train", features)
        >>> [serialized.numpy() for serialized in records]
        [b'one', b'two']
    """
    check_on_error(on_error, max_bad_fraction)
    opened = open_source(source, schema, on_error=on_error)
    records = opened.split(split, on_error=on_error)
    if on_error == "raise":
        return tf.data.TFRecordDataset(
            list(records.files), buffer_size=READ_BUFFER_BYTES
        )
    return _usable_records(records, opened.features, max_bad_fraction)


def first_records(
    source: str | os.PathLike | RecordSource,
    split: str,
    count: int,
    schema: tfds.features.FeaturesDict | None = None,
    *,
    on_error: str = "raise",
    max_bad_fraction: float = 1.0,
) -> list[dict[str, object]]:
    """Reads the first few records of a split, to look at or to try a model on.

    Args:
        source: What `open_source` opens.
        split: Name of the split.
        count: How many.
        schema: As in `open_source`.
        on_error: As in `read_records`; those that are skipped do not count.
        max_bad_fraction: As in `read_records`.

    Returns:
        One dict a record. Images are encoded bytes, texts `str`, lists NumPy arrays.

    Raises:
        ValueError: If the source or the split is not sound, a record is damaged and
            `on_error` is `"raise"`, or too many are.
    """
    import tensorflow_datasets as tfds

    opened = open_source(source, schema, on_error=on_error)
    serialized = read_records(
        opened, split, on_error=on_error, max_bad_fraction=max_bad_fraction
    )
    records = []
    with clear_data_errors(opened):
        for one in serialized.take(count):
            record = parse_record(one, opened.features)
            values = {name: value.numpy() for name, value in record.items()}
            for name, feature in opened.features.items():
                if isinstance(feature, tfds.features.Text):
                    values[name] = values[name].decode(errors="replace")
            records.append(values)
    return records


def _usable_records(
    split: Split, features: tfds.features.FeaturesDict, max_bad_fraction: float
) -> tf.data.Dataset:
    reader = RecordReader(split, on_error="skip")

    def read(numbers: tf.Tensor) -> tuple[tf.Tensor, ...]:
        records = tf.numpy_function(reader.read, [numbers], tf.string)
        return numbers, numbers, tf.ensure_shape(records, (None,))

    def check(number: tf.Tensor, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = parse_record(serialized, features)
        # No parsing is left of the graph where nothing takes what was parsed.
        used = tf.raw_ops.Assert(
            condition=tf.strings.length(serialized) >= 0,
            data=tf.nest.flatten(parsed, expand_composites=True),
        )
        with tf.control_dependencies([used]):
            return {"serialized": tf.identity(serialized)}

    chunks = tf.data.Dataset.range(split.num_records).batch(CHUNK_RECORDS).map(read)
    report = bad_record_report(
        reader, on_error="skip", bad_records=None, max_bad_fraction=max_bad_fraction
    )
    records = isolate_failures(
        chunks,
        check,
        report,
        substitute=False,
        num_parallel_calls=min(usable_cores(), 16),
    )
    records = records.map(lambda record: record["serialized"])
    return records.with_options(training_options())
