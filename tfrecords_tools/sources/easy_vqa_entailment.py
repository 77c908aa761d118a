"""easy-VQA's pictures with statements that they entail, contradict or leave open."""

import csv
import os
import pathlib
import random
from collections.abc import Iterator

from tfrecords_tools.bad_rows import BadRows
from tfrecords_tools.sources.easy_vqa import SHAPES, read_easy_vqa
from tfrecords_tools.sources.easy_vqa_captions import COLORS, told_of_images

_STATEMENTS = (
    "the shape is a {color} {shape}",
    "there is a {color} {shape}",
    "the {shape} is {color}",
    "the shape is {color}",
    "the shape is a {shape}",
)
# What no picture can tell.
_OPEN = (
    "the {color} {shape} was drawn by a child",
    "the {color} {shape} is made of paper",
    "the {color} {shape} is older than the others",
    "somebody likes the {color} {shape}",
)


def write_easy_vqa_entailment(
    folder: str | os.PathLike,
    validation_fraction: float = 0.05,
    source_dir: str | None = None,
    seed: int = 0,
) -> str:
    """Writes a manifest for visual entailment: picture, hypothesis, one of 3 classes.

    Each picture gets three hypotheses: one that it entails ("the shape is a red
    circle"), one that it contradicts (of the same form, with another colour or shape),
    and one that it leaves open ("the red circle was drawn by a child"). So the
    picture alone tells nothing (1/3 is right by chance), and the hypothesis alone tells
    only what is left open (2/3).

    Args:
        folder: Where `entailment.csv` goes, with the columns `id`, `image` (absolute
            paths), `text`, `label` and `split`.
        validation_fraction: Share of the training pictures that go to validation.
        source_dir: As in `build_easy_vqa`.
        seed: Seed of the hypotheses.

    Returns:
        The path of the manifest, for `build_manifest`.

    Raises:
        ValueError: If the package easy-vqa is missing or a row is bad.

    References:
        - [Xie et al., 2019](https://arxiv.org/abs/1901.06706) (SNLI-VE, the task).
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(seed)
    path = folder / "entailment.csv"
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "image", "text", "label", "split"])
        for record, color, shape in told_of_images(
            read_easy_vqa(source_dir, BadRows(skip_bad=False))
        ):
            split = record.split or (
                "validation" if generator.random() < validation_fraction else "train"
            )
            for label, text in _hypotheses(color, shape, generator):
                name = f"{record.values['image_id']}-{label}"
                image = pathlib.Path(record.image).absolute()
                writer.writerow([name, image, text, label, split])
    partial.rename(path)
    return str(path)


def _hypotheses(
    color: str, shape: str, generator: random.Random
) -> Iterator[tuple[str, str]]:
    true = {"color": color, "shape": shape}
    yield "entailment", generator.choice(_STATEMENTS).format(**true)
    form = generator.choice(_STATEMENTS)
    named = [part for part in true if f"{{{part}}}" in form]
    # One of the two is wrong, or both.
    wrong = set(generator.choice([named[:1], named[-1:], named]))
    others = {
        "color": generator.choice([one for one in COLORS if one != color]),
        "shape": generator.choice([one for one in SHAPES if one != shape]),
    }
    false = {part: others[part] if part in wrong else true[part] for part in true}
    yield "contradiction", form.format(**false)
    yield "neutral", generator.choice(_OPEN).format(**true)
