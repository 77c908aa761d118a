"""Small pictures of one coloured shape each: data for trying things out in seconds."""

import csv
import itertools
import os
import pathlib

import numpy as np
import tensorflow as tf

COLORS = {"red": (220, 30, 30), "green": (20, 150, 60), "blue": (40, 60, 220)}
SHAPES = ("square", "disc")
TIMES = ("noon", "night")
REPEATS = {"train": 16, "validation": 4, "test": 4}


def write_colored_shapes(folder: str | os.PathLike, image_size: int = 32) -> str:
    """Draws squares and discs in three colours, and lists them in a CSV file.

    The columns `question` and `answer` ask for colour or shape. The columns `text`
    and `label` make a task that needs both sides: the label has the picture's colour
    and the text's time of day. `caption` says what is to be seen.

    Args:
        folder: Where the pictures and `shapes.csv` go; made if it is not there.
        image_size: Height and width of the pictures.

    Returns:
        The path of the CSV file.

    Example:
        >>> with open(kmmft.data.write_colored_shapes("shapes")) as file:
        ...     file.readline().strip()
        'id,split,image,question,answer,text,label,caption'
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, repeats in REPEATS.items():
        every = itertools.product(range(repeats), COLORS, SHAPES, TIMES)
        for number, color, shape, time in every:
            name = f"{split}-{number}-{color}-{shape}-{time}"
            picture = _draw(color, shape, image_size, seed=len(rows))
            file = folder / f"{name}.png"
            file.write_bytes(tf.io.encode_png(picture).numpy())
            asked, answer = (("color", color), ("shape", shape))[number % 2]
            rows.append(
                {
                    "id": name,
                    "split": split,
                    "image": file.name,
                    "question": f"what {asked} is it?",
                    "answer": answer,
                    "text": f"seen at {time}",
                    "label": f"{color} {time}",
                    "caption": f"a {color} {shape}",
                }
            )
    path = folder / "shapes.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def _draw(color: str, shape: str, size: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    radius = random.uniform(0.25, 0.4) * size
    center = random.uniform(radius, size - radius, 2)
    away = np.abs(np.indices((size, size)).transpose(1, 2, 0) + 0.5 - center)
    inside = away.max(-1) < radius
    if shape == "disc":
        inside = np.hypot(*away.transpose(2, 0, 1)) < radius
    picture = np.full((size, size, 3), 245, np.uint8)
    picture[inside] = COLORS[color]
    return picture
