"""Drawn shapes with sentences whose tags nobody can tell without the picture."""

import csv
import pathlib

import numpy as np

import kmmft
from kmmft.data.colored_shapes import COLORS, SHAPES
from kmmft.data.template_texts import FIRST_NAMES

PATTERNS = (
    "{name} drew {shape} , {shape} or {shape} .",
    "Is that {shape} by {name} , or {shape} or {shape} ?",
    "{name} looks for {shape} , {shape} and {shape} .",
)
SENTENCES = 2  # of each picture


def write_described_shapes(
    folder: pathlib.Path, seed: int = 0
) -> tuple[list[str], pathlib.Path]:
    """Writes sentences that name a shape of each colour; the picture shows one of them.

    That one is tagged as an entity, `SEEN`. Without the picture all three are alike:
    who tags all of them reaches an F1 of 0.5.

    Args:
        folder: Where pictures and files go.
        seed: Seed of what is drawn.

    Returns:
        Files of words and tags for `tfrecords_tools.build_conll`, each as SPLIT=FILE,
        and the folder of the images.
    """
    pictures = folder / "pictures"
    random = np.random.default_rng(seed)
    sentences: dict[str, list[str]] = {}
    with open(kmmft.data.write_colored_shapes(pictures, image_size=64)) as file:
        for row in csv.DictReader(file):
            for _ in range(SENTENCES):
                lines = [f"IMGID:{row['image']}", *_tagged(random, row["caption"])]
                text = "\n".join([*lines, "\n"])
                sentences.setdefault(row["split"], []).append(text)
    files = []
    for split, texts in sentences.items():
        path = folder / f"{split}.conll"
        path.write_text("".join(texts))
        files.append(f"{split}={path}")
    return files, pictures


def _tagged(random: np.random.Generator, seen: str) -> list[str]:
    """A word and its tag a line."""
    colors = [color for color in COLORS if color not in seen]
    others = [f"a {color} {random.choice(SHAPES)}" for color in colors]
    named = iter(random.permutation([seen, *others]))
    name = str(random.choice(FIRST_NAMES))
    lines = []
    for slot in str(random.choice(PATTERNS)).split():
        text = {"{name}": name}.get(slot, slot)
        if slot == "{shape}":
            text = next(named)
        tags = ["O", "B-SEEN", "I-SEEN"] if text == seen else ["O"] * 3
        lines += [
            f"{word} {tag}" for word, tag in zip(text.split(), tags, strict=False)
        ]
    return lines
