"""easy-VQA's pictures with what its questions say about them as captions."""

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator

from tfrecords_tools.bad_rows import BadRows
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildResult
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.sources.easy_vqa import SHAPES, read_easy_vqa
from tfrecords_tools.write_records import write_records

COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
CLASSES = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)
_WORDS = re.compile(rf"\b({'|'.join((*SHAPES, *COLORS))})\b")


def build_easy_vqa_captions(
    *,
    output_dir: str | os.PathLike,
    name: str = "easy_vqa_captions",
    validation_fraction: float = 0.05,
    source_dir: str | None = None,
    labelled: bool = False,
    options: BuildOptions = BuildOptions(),  # noqa: B008
) -> BuildResult:
    """Writes easy-VQA's pictures with captions such as "a blue circle".

    The captions are made from the questions and answers: what is asked for, what is
    taken for granted ("what color is the circle?") and what is affirmed. Pictures
    whose shape or colour no question tells are left out. Records have the schema
    `image_text`, with one caption.

    Args:
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the dataset.
        validation_fraction: Share of the training images that go to validation.
        source_dir: Directory with train/ and test/; default: the package's own.
        labelled: Whether records have one of 24 classes, such as "blue circle", in
            place of captions.
        options: What all sources share; see `BuildOptions`.

    Returns:
        Directory, counts by split, size and time.

    Raises:
        ValueError: If the package is missing, a row is bad, or the dataset exists.
    """
    from kmmft.data import schema

    started = time.perf_counter()
    bad_rows = BadRows(options.skip_bad)
    questions = read_easy_vqa(source_dir, bad_rows)
    features = schema.image_text()
    if labelled:
        features = schema.labelled(text=False, class_names=CLASSES)
    return write_records(
        _described(questions, labelled),
        bad_rows,
        output_dir=output_dir,
        name=name,
        features=features,
        options=options,
        started=started,
        validation_fraction=validation_fraction,
        description="easy-VQA: pictures of simple shapes, with "
        f"{'classes' if labelled else 'captions'}.",
    )


def _described(questions: Iterable[SourceRecord], labelled: bool) -> list[SourceRecord]:
    records = []
    for first, color, shape in told_of_images(questions):
        name = f"{color} {shape}"
        said = {"label": name} if labelled else {"captions": [f"a {name}"]}
        values = {"id": first.values["image_id"], **said}
        record = SourceRecord(first.split, values, first.image, first.places)
        records.append(record)
    return records


def told_of_images(
    questions: Iterable[SourceRecord],
) -> Iterator[tuple[SourceRecord, str, str]]:
    """Colour and shape of each picture of which the questions tell both.

    Args:
        questions: All questions, as `read_easy_vqa` gives them.

    Yields:
        The first question about a picture, and its colour and shape.
    """
    by_image = defaultdict(list)
    for question in questions:
        by_image[question.values["image_id"]].append(question)
    for about in by_image.values():
        told = (facts(q.values["question"], q.values["answer"]) for q in about)
        known = set().union(*told)
        colors, shapes = known.intersection(COLORS), known.intersection(SHAPES)
        if len(colors) == len(shapes) == 1:
            yield about[0], colors.pop(), shapes.pop()


def facts(question: str, answer: str) -> set[str]:
    """Shapes and colours that are in the picture, by one question and its answer.

    Args:
        question: Such as "what color is the circle?".
        answer: Such as "blue".

    Returns:
        Such as `{"circle", "blue"}`.

    Example:
        >>> sorted(facts("does the image not contain a red shape?", "no"))
        ['red']
        >>> sorted(facts("is no red shape present?", "yes"))
        []
    """
    named = set(_WORDS.findall(question))
    if answer not in ("yes", "no"):
        return named | {answer}
    denied = not {"no", "not"}.isdisjoint(question.split())
    return named if (answer == "yes") != denied else set()
