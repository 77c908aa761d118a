"""easy-VQA: questions about simple shapes, from the installed `easy-vqa` package."""

import importlib.util
import json
import os
import pathlib
import time

from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildPlan, BuildResult
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.stable_hash import check_fractions
from tfrecords_tools.write_records import write_records

SHAPES = ("circle", "rectangle", "triangle")


def build_easy_vqa(
    *,
    output_dir: str | os.PathLike,
    name: str = "easy_vqa",
    validation_fraction: float = 0.05,
    source_dir: str | None = None,
    options: BuildOptions = BuildOptions(),  # noqa: B008
) -> BuildResult | BuildPlan:
    """Writes easy-VQA: 48k questions about 5k pictures of one shape each.

    Records have the schema `image_question_answer`. `question_type` is `"yes/no"`,
    `"shape"` or `"color"`, by the answer. Validation records are cut from the
    training images, so that no image is in two splits.

    Args:
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the dataset.
        validation_fraction: Share of the training images that go to validation.
        source_dir: Directory with train/ and test/; default: the package's own.
        options: What all sources share; see `BuildOptions`.

    Returns:
        Directory, counts by split, size and time; for a dry run, what would be
        written.

    Raises:
        ValueError: If the package is missing, a row is bad, or the dataset exists.

    References:
        - [Zhou, easy-VQA](https://github.com/vzhou842/easy-VQA).
    """
    from kmmft.data import schema

    started = time.perf_counter()
    check_fractions(validation_fraction)
    bad_rows = BadRows(options.skip_bad)
    return write_records(
        read_easy_vqa(source_dir, bad_rows),
        bad_rows,
        output_dir=output_dir,
        name=name,
        features=schema.image_question_answer(),
        options=options,
        started=started,
        validation_fraction=validation_fraction,
        description="easy-VQA: questions about pictures of simple shapes.",
    )


def read_easy_vqa(source_dir: str | None, bad_rows: BadRows) -> list[SourceRecord]:
    """The questions of both splits; validation is not cut from training yet.

    Args:
        source_dir: As in `build_easy_vqa`.
        bad_rows: Takes the rows that are no questions.
    """
    source = pathlib.Path(source_dir) if source_dir else _package_data()
    return [
        record
        for split in ("train", "test")
        for record in _read_split(source, split, bad_rows)
    ]


def _package_data() -> pathlib.Path:
    package = importlib.util.find_spec("easy_vqa")
    if package is None:
        raise ValueError(
            "easy-VQA comes from the Python package easy-vqa. Received: an "
            "environment without it; run `pip install easy-vqa`, or give source_dir."
        )
    return pathlib.Path(package.origin).parent / "data"


def _read_split(
    source: pathlib.Path, split: str, bad_rows: BadRows
) -> list[SourceRecord]:
    path = source / split / "questions.json"
    try:
        entries = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"easy-VQA needs a readable {split}/questions.json. Received: {path} "
            f"({error}); give the directory that holds train/ and test/ as source_dir."
        ) from error
    images = source / split / "images"
    records = []
    for index, entry in enumerate(entries):
        place = Place(f"{split}/questions.json", index + 1)
        match entry:
            case [str(question), str(answer), int(number)] if question and answer:
                pass
            case _:
                bad_rows.add(place, f"{entry!r} is not [question, answer, image].")
                continue
        image_id = f"{split}-{number}"
        values = {
            "id": f"{split}-{index:06d}",
            "image_id": image_id,
            "question": question,
            "question_type": _question_type(answer),
            "answer": answer,
        }
        # Validation is cut from the training images.
        named = None if split == "train" else split
        image = images / f"{number}.png"
        records.append(SourceRecord(named, values, image, (place,), image_id))
    return records


def _question_type(answer: str) -> str:
    if answer in ("yes", "no"):
        return "yes/no"
    return "shape" if answer in SHAPES else "color"
