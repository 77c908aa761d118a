"""Turns the rows of any source into a data directory: the part all sources share."""

import contextlib
import dataclasses
import os
import pathlib
import re
import time
import types
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tfrecords_tools.bad_rows import BadRows
from tfrecords_tools.beam_build import check_beam, write_with_beam
from tfrecords_tools.build_journal import hash_of_arguments
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_plan import plan_build
from tfrecords_tools.build_result import BuildPlan, BuildResult
from tfrecords_tools.image_loading import ImageLoader, load_ahead
from tfrecords_tools.incomplete_directory import full_disk_is_named
from tfrecords_tools.near_duplicate_records import group_records
from tfrecords_tools.progress import progress_bar
from tfrecords_tools.record_contents import record_content
from tfrecords_tools.record_splits import with_splits
from tfrecords_tools.resumable_build import ResumableBuild
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.stable_hash import in_hash_order
from tfrecords_tools.text_filters import TEXT_FEATURES, filter_texts
from tfrecords_tools.writer import DatasetWriter

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# What changes no byte of what is written. A build that stopped at a bad row and is told
# to skip it goes on; one that skipped rows and may no more stops at the first of them.
_WITHOUT_EFFECT = (
    *("num_workers", "dry_run", "overwrite", "filter", "runner", "runner_options"),
    "skip_bad",
)


def write_records(
    records: Iterable[SourceRecord],
    bad_rows: BadRows,
    *,
    output_dir: str | os.PathLike,
    name: str,
    features: "tfds.features.FeaturesDict",
    options: BuildOptions,
    started: float,
    validation_fraction: float = 0.0,
    test_fraction: float = 0.0,
    description: str = "",
    feature: str = "image",
    read: Callable[[pathlib.Path], Any] | None = None,
    scratch: str | os.PathLike | None = None,
) -> BuildResult | BuildPlan:
    """Writes records into `output_dir/name/1.0.0/`, in the order of a hash of the id.

    Killed and called again with the same arguments, it goes on with what is whole.

    Args:
        records: The records of the source. Records whose split is None get one by a
            hash of their group.
        bad_rows: Takes the rows that had to be left out.
        output_dir: Directory that will hold the dataset.
        name: Name of the dataset.
        features: What a record is.
        options: What the user chose.
        started: When the build began, from `time.perf_counter()`.
        validation_fraction: Share for validation, where the source names no split.
        test_fraction: Share for test, where the source names no split.
        description: Text for `dataset_info.json`.
        feature: Name of the feature that is read from the files.
        read: Reads a file, in place of reading and checking an image. A
            `functools.partial` of a function with plain arguments. If it returns a
            dict, that is of values by feature.
        scratch: Folder of files that the source made for this build only: they count
            as the same if their content is, whatever their path.

    Returns:
        Directory, counts, size and time; what would be written in a dry run.

    Raises:
        ValueError: If the dataset exists, a record does not fit the features, an
            image is bad and bad rows are not skipped, or an option does not fit the
            records.
    """
    _check_fit(options, features, read is None)
    if options.runner:
        check_beam(options.runner)
    groups = None
    ordered = in_hash_order(records, lambda record: record.values["id"])
    ordered = list(filter_texts(ordered, options, bad_rows))
    if options.group_near_duplicates and not options.dry_run:
        groups = group_records(ordered, options.num_workers)
    ordered = with_splits(ordered, validation_fraction, test_fraction, groups, bad_rows)
    writer = DatasetWriter(
        output_dir,
        name,
        features,
        num_shards=options.num_shards,
        shard_megabytes=options.shard_megabytes,
        description=description,
        overwrite=options.overwrite,
        resumable=True,
    )
    if options.dry_run:
        return plan_build(writer.directory, ordered, bad_rows)
    arguments = _hash_of(options, features, description, read)
    scratch = None if scratch is None else pathlib.Path(scratch)
    load = read or ImageLoader(options)
    with full_disk_is_named(writer.output_dir), writer:
        if options.runner:
            write_with_beam(
                *(writer, ordered, bad_rows, options),
                arguments=arguments,
                load=load,
                feature=feature,
                scratch=scratch,
            )
        else:
            build = ResumableBuild(writer, ordered, bad_rows, arguments, scratch)
            _write(build, ordered, options, feature, load, name)
        if bad_rows.found or bad_rows.left_out:
            writer.write_text_file("skipped.jsonl", bad_rows.to_jsonl())
    return BuildResult(
        directory=writer.directory,
        num_records=writer.num_records,
        num_bytes=sum(path.stat().st_size for path in writer.directory.iterdir()),
        num_skipped=len(bad_rows.found) + len(bad_rows.left_out),
        seconds=time.perf_counter() - started,
        skipped=bad_rows.counts(),
    )


def _write(
    build: ResumableBuild,
    records: Sequence[SourceRecord],
    options: BuildOptions,
    feature: str,
    load: Callable[[Any], Any],
    name: str,
) -> None:
    build.resume()
    left = records[build.num_done :]
    loaded = load_ahead(left, load, options.num_workers)
    with (
        contextlib.closing(loaded),
        progress_bar(f"Writing {name}", len(records)) as advance,
    ):
        advance(build.num_done)
        for record, content in loaded:
            build.add(record_content(record, content, feature, options.filter))
            advance()
    build.checkpoint()


def _check_fit(
    options: BuildOptions, features: "tfds.features.FeaturesDict", reads_images: bool
) -> None:
    """Options that could have no effect are mistakes."""
    with_image = reads_images and "image" in features
    if (options.changes_images or options.group_near_duplicates) and not with_image:
        raise ValueError(
            "max_side, reencode, min_side, max_aspect_ratio and group_near_duplicates "
            f"are for records with an image. Received: features {sorted(features)}."
        )
    if options.filters_texts and not set(TEXT_FEATURES) & set(features):
        raise ValueError(
            "min_words, max_words, language and drop_duplicate_captions are for "
            f"records with a text. Received: features {sorted(features)}."
        )
    if options.drop_duplicate_captions and "captions" not in features:
        raise ValueError(
            "drop_duplicate_captions is for records with captions. Received: features "
            f"{sorted(features)}."
        )


def _hash_of(
    options: BuildOptions,
    features: "tfds.features.FeaturesDict",
    description: str,
    read: Callable[[pathlib.Path], Any] | None,
) -> str:
    """What decides the bytes beside the records and their files."""
    import PIL

    chosen = dataclasses.asdict(dataclasses.replace(options, filter=None))
    for option in _WITHOUT_EFFECT:
        del chosen[option]
    names = {key: _names_of(feature) for key, feature in features.items()}
    called = read and [read.func.__qualname__, read.args, read.keywords]
    keep = _told(options.filter)
    return hash_of_arguments(
        [chosen, repr(features), names, description, called, keep, PIL.__version__]
    )


def _told(value: Any) -> Any:
    """What a value is, alike in each process; of a function its code and values."""
    if isinstance(value, types.CodeType):
        return [value.co_code, value.co_names, _told(value.co_consts)]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        given = [value.__defaults__, value.__kwdefaults__, cells]
        return [_told(value.__code__), _told(given)]
    if isinstance(value, list | tuple):
        return [_told(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    # Where it lies in memory is another place each time.
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _names_of(feature: Any) -> list[str] | None:
    """Names of the classes, also of a sequence of labels."""
    return getattr(getattr(feature, "feature", feature), "names", None)
