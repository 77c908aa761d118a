"""Builds a data directory from any dataset of TensorFlow Datasets."""

import pathlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildPlan, BuildResult
from tfrecords_tools.sources.annotation_formats import Rows
from tfrecords_tools.sources.class_names import sorted_class_names
from tfrecords_tools.sources.embedded_files import EmbeddedFiles
from tfrecords_tools.sources.manifest_columns import ManifestColumns
from tfrecords_tools.sources.manifest_records import manifest_records
from tfrecords_tools.sources.split_names import split_name
from tfrecords_tools.sources.tfds_builders import (
    feature_at,
    open_builder,
    read_values,
    split_expressions,
)
from tfrecords_tools.write_records import write_records

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# Columns that rows get, by names that no feature has.
_ID, _SPLIT = "(id)", "(split)"


def build_tfds(
    *,
    data: str,
    output_dir: str | pathlib.Path,
    name: str,
    image: str | None = None,
    caption: str | None = None,
    question: str | None = None,
    answer: str | None = None,
    label: str | None = None,
    text: str | None = None,
    id: str | None = None,
    splits: Sequence[str] = (),
    data_dir: str | None = None,
    options: BuildOptions = BuildOptions(),  # noqa: B008
) -> BuildResult | BuildPlan:
    """Writes the records of a TFDS dataset with the features that kmmft knows.

    The features given decide the schema, as the columns of `build manifest` do.
    `captions.text` is a feature inside of another. Images stay the bytes that they
    are on disk, and labels keep their names and numbers. Splits are kept. The images
    need their size on disk once more while it works.

    Args:
        data: A directory that TFDS wrote (NAME/1.0.0, or NAME if there is one
            version), or a name such as mnist, which TFDS downloads if need be.
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the dataset.
        image: Feature with the image.
        caption: Feature with captions, one or several.
        question: Feature with the question.
        answer: Feature with the answer; of several, the most frequent one is taken.
        label: Feature with the class.
        text: Feature with the text to classify.
        id: Feature with the id; default: the one that TFDS gives, of shard and number.
        splits: Splits to take, each as NAME or NAME=EXPRESSION
            (validation=train[:5%]); default: all.
        data_dir: Where TFDS keeps datasets; default: ~/tensorflow_datasets.
        options: What all sources share; see `BuildOptions`.

    Returns:
        Directory, counts by split, size and time.

    Raises:
        ValueError: If there is no such dataset or feature, the features do not make
            records, a record is bad, or the dataset exists.

    Example:
        >>> from tfrecords_tools import DatasetWriter
        >>> features = kmmft.data.schema.labelled(image=False, class_names=["good"])
        >>> with DatasetWriter("old", "reviews", features) as writer:
        ...     writer.write("train", {"id": "a", "text": "Fine.", "label": "good"})
        >>> build_tfds(
        ...     data="old/reviews", text="text", label="label", id="id",
        ...     name="again", output_dir="new",
        ... ).num_records
        {'train': 1}
    """
    started = time.perf_counter()
    columns = ManifestColumns(
        image=image,
        caption=caption,
        question=question,
        answer=answer,
        label=label,
        text=text,
        id=id or _ID,
        split=_SPLIT,
    )
    builder = open_builder(data, data_dir)
    class_names = _check_features(builder.info.features, columns)
    bad_rows = BadRows(options.skip_bad)
    with EmbeddedFiles(pathlib.Path(output_dir)) as files:
        rows = _rows(builder, columns, split_expressions(builder, splits), class_names)
        rows = files.take_out(rows, image)
        records = manifest_records(rows, pathlib.Path(), columns, bad_rows)
        labels = [record.values["label"] for record in records if label]
        return write_records(
            records,
            bad_rows,
            output_dir=output_dir,
            name=name,
            features=columns.features(class_names or sorted_class_names(labels)),
            options=options,
            started=started,
            scratch=files.folder,
            description=builder.info.description,
        )


def _check_features(
    features: "tfds.features.FeaturesDict", columns: ManifestColumns
) -> list[str] | None:
    """Checks that the features are there, and returns the names of the classes."""
    import tensorflow_datasets as tfds

    found = {path: feature_at(features, path) for path in _paths(columns)}
    if columns.image and not isinstance(found[columns.image], tfds.features.Image):
        raise ValueError(
            "The image must be one feature of the kind Image. Received: "
            f"image={columns.image!r}, a {type(found[columns.image]).__name__}; choose "
            "another feature."
        )
    label = found.get(columns.label)
    return list(label.names) if isinstance(label, tfds.features.ClassLabel) else None


def _paths(columns: ManifestColumns) -> list[str]:
    return [name for name in columns.names if name not in (_ID, _SPLIT)]


def _rows(
    builder: "tfds.core.DatasetBuilder",
    columns: ManifestColumns,
    expressions: dict[str, str],
    class_names: list[str] | None,
) -> Rows:
    for split, expression in expressions.items():
        paths = _paths(columns)
        for tfds_id, values in read_values(builder, expression, paths, columns.image):
            row = {path: _plain(value) for path, value in values.items()}
            if columns.image:
                row[columns.image] = values[columns.image]
            if class_names is not None:
                # -1 stands for a label that is not known.
                number = row[columns.label]
                row[columns.label] = class_names[number] if number >= 0 else None
            if columns.answer and isinstance(row[columns.answer], list):
                row[columns.answer] = _most_frequent(row[columns.answer])
            yield Place(tfds_id), row | {_ID: tfds_id, _SPLIT: split_name(split)}


def _plain(value: Any) -> Any:
    """Texts, numbers and lists as Python has them."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    # What is no UTF-8 stays bytes, of which the record will complain.
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def _most_frequent(values: list[Any]) -> Any:
    """The first of those that come most often; None of none."""
    return max(values, key=values.count, default=None)
