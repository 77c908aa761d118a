"""Builds a data directory from the annotation files of published data sets."""

import os
import pathlib
import time
from collections.abc import Sequence

from tfrecords_tools.bad_rows import BadRows
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildPlan, BuildResult
from tfrecords_tools.sources.annotation_formats import READERS, Format, Rows, columns
from tfrecords_tools.sources.class_names import sorted_class_names
from tfrecords_tools.sources.manifest_records import manifest_records
from tfrecords_tools.stable_hash import check_fractions
from tfrecords_tools.write_records import write_records


def build_annotations(
    *,
    format: Format,
    annotations: Sequence[str],
    images: Sequence[str],
    output_dir: str | pathlib.Path,
    name: str,
    questions: Sequence[str] = (),
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    options: BuildOptions = BuildOptions(),  # noqa: B008
) -> BuildResult | BuildPlan:
    """Writes the entries of annotation files as records.

    Captions (coco, karpathy, flickr30k, conceptual_captions) become `image_text`, with
    all captions of an image in one record; questions (vqa2, gqa)
    `image_question_answer`, in vqa2 with all people's answers beside the most frequent
    one; snli_ve and hateful_memes `labelled`, with image and text.

    Args:
        format: Format of the files.
        annotations: Files, each as FILE or SPLIT=FILE. Without a split, and if the
            format knows none, entries are split by a hash of the image's path.
        images: Folders of the images; each image is taken from the first that has it.
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the dataset.
        questions: For vqa2, the files of questions, one for each of annotations.
        validation_fraction: Share for validation, where nothing names a split.
        test_fraction: Share for test, where nothing names a split.
        options: What all sources share; see `BuildOptions`.

    Returns:
        Directory, counts by split, size and time; for a dry run, what would be
        written.

    Raises:
        ValueError: If a file is not of the format, an entry is bad, or the dataset
            exists.
    """
    started = time.perf_counter()
    check_fractions(validation_fraction, test_fraction)
    if (format == "vqa2") != bool(questions) or len(questions) not in (
        0,
        len(annotations),
    ):
        raise ValueError(
            "vqa2, and no other format, needs one file of questions for each of "
            f"annotations. Received: format={format!r}, {len(questions)} files of "
            f"questions, {len(annotations)} of annotations."
        )
    folders = [pathlib.Path(folder).absolute() for folder in images]
    root = pathlib.Path(os.path.commonpath(folders))
    kind, bad_rows = columns(format), BadRows(options.skip_bad)
    rows = _rows(format, annotations, questions, folders, root)
    records = manifest_records(rows, root, kind, bad_rows)
    labels = [record.values["label"] for record in records if kind.label]
    return write_records(
        records,
        bad_rows,
        output_dir=output_dir,
        name=name,
        features=kind.features(sorted_class_names(labels)),
        options=options,
        started=started,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
    )


def _rows(format, annotations, questions, folders, root) -> Rows:
    for number, named in enumerate(annotations):
        split, _, file = named.rpartition("=")
        files = [pathlib.Path(file), *map(pathlib.Path, questions[number : number + 1])]
        missing = [str(path) for path in files if not path.is_file()]
        if missing:
            raise ValueError(
                "Annotations must be files, each as FILE or SPLIT=FILE. Received: "
                f"{missing[0]}, which is none; mend the path."
            )
        for place, row in READERS[format](*files):
            image = row.get("image") and _find(row["image"], folders, root)
            own = row.get("split") or split
            yield place, row | {"image": image} | ({"split": own} if own else {})


def _find(image: str, folders: list[pathlib.Path], root: pathlib.Path) -> str:
    """The image in the first folder that has it, else where it is missed."""
    places = [folder / image for folder in folders]
    found = next((place for place in places if place.exists()), places[0])
    return os.path.relpath(found, root)
