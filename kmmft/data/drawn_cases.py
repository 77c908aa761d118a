"""Made-up patients: a drawn spot, a line of report, some numbers, and missing ones."""

import csv
import os
import pathlib

import numpy as np
import tensorflow as tf

CLASSES = ("harmless", "watch", "urgent")
SITES = ("arm", "back", "leg", "neck")
_QUIET = ("no complaints", "found by chance", "unchanged for years")
_LOUD = ("it bleeds at times", "it itches and bleeds", "bleeding since last month")
_SPLITS = {"train": 0.7, "validation": 0.1, "test": 0.2}


def write_drawn_cases(
    folder: str | os.PathLike,
    num_cases: int = 1000,
    missing: float = 0.15,
    image_size: int = 48,
    seed: int = 0,
) -> str:
    """Draws cases of which picture, report and numbers each tell a part.

    A spot is dark or pale, the report speaks of bleeding or does not, and the patient
    is older than 60 or not. Two signs are `watch`, three `urgent`, and fewer
    `harmless`: so no modality is enough, and the classes are far from equally frequent.
    Diameter and site say nothing. Pictures, reports and cells are missing at random.
    Nothing of it is medicine.

    Args:
        folder: Where the pictures and `cases.csv` go; made if it is not there.
        num_cases: Number of cases in all splits.
        missing: Share of empty cells in each of the five columns. A row always has
            one value at least.
        image_size: Height and width of the pictures.
        seed: Seed of the cases.

    Returns:
        The path of the CSV file, with the columns `id`, `split`, `image`, `text`,
        `age`, `diameter_mm`, `site` and `label`.

    Example:
        >>> with open(kmmft.data.write_drawn_cases("cases", num_cases=3)) as file:
        ...     file.readline().strip()
        'id,split,image,text,age,diameter_mm,site,label'
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    rows = [
        _case(f"case-{number:05d}", folder, missing, image_size, random)
        for number in range(num_cases)
    ]
    path = folder / "cases.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def _case(
    name: str,
    folder: pathlib.Path,
    missing: float,
    image_size: int,
    random: np.random.Generator,
) -> dict[str, str]:
    dark, bleeds, old = random.random(3) < (0.4, 0.4, 0.4)
    diameter = random.uniform(3, 12)
    age = random.uniform(61, 90) if old else random.uniform(20, 60)
    cells = {
        "image": f"{name}.png",
        "text": str(random.choice(_LOUD if bleeds else _QUIET)),
        "age": f"{age:.0f}",
        "diameter_mm": f"{diameter:.1f}",
        "site": str(random.choice(SITES)),
    }
    spared = random.choice(list(cells))
    for column in cells:
        if column != spared and random.random() < missing:
            cells[column] = ""
    picture = _draw(dark, diameter, image_size, random)
    if cells["image"]:
        (folder / cells["image"]).write_bytes(tf.io.encode_png(picture).numpy())
    split = random.choice(list(_SPLITS), p=list(_SPLITS.values()))
    signs = int(dark) + int(bleeds) + int(old)
    label = CLASSES[max(0, signs - 1)]
    return {"id": name, "split": str(split), **cells, "label": label}


def _draw(
    dark: bool, diameter: float, size: int, random: np.random.Generator
) -> np.ndarray:
    """A round spot on skin, a little uneven."""
    center = random.uniform(0.4, 0.6, 2) * size
    away = np.indices((size, size)).transpose(1, 2, 0) + 0.5 - center
    inside = np.hypot(*away.transpose(2, 0, 1)) < diameter / 30 * size
    picture = np.full((size, size, 3), (235, 200, 180), float)
    picture[inside] = (70, 40, 35) if dark else (190, 130, 105)
    picture += random.normal(0, 6, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)
