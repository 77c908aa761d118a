"""Labelled sounds with drawn pictures and texts that agree with them in part."""

import csv
import hashlib
import pathlib

import numpy as np
import tensorflow as tf

import kmmft
from tfrecords_tools.bad_rows import BadRows
from tfrecords_tools.sources.manifest_cells import text_cell
from tfrecords_tools.sources.manifest_rows import read_rows

# How often picture and text show the sound's own class.
PICTURE_AGREES = 0.8
TEXT_AGREES = 0.7
SIZE = 32


def write_illustrated_sounds(
    sounds: str, folder: pathlib.Path, skip_bad: bool = False
) -> str:
    """Writes a manifest of three modalities, each of which tells the class in part.

    The picture is a disc in the class's colour, on noise, and the text names the
    class; the picture is right in 80 % of the examples and the text in 70 %, each
    independently, and otherwise they show another class. So the two together are right
    in little more than 80 %, and what is beyond has to be heard.

    Args:
        sounds: CSV, TSV, JSONL or Parquet file with columns `audio` (paths, relative
            to it) and `label` of two classes or more, and `split`, or `group` for what
            must not be in two splits; empty: `kmmft.data.write_tones`.
        folder: Where pictures and `illustrated.csv` go.
        skip_bad: Whether rows with an empty cell are left out.

    Returns:
        The path of the manifest, with columns `id`, `split`, `image`, `audio`, `text`
        and `label`.

    Raises:
        ValueError: If the file is not there, lacks a column or holds an empty cell that
            is not to be left out, or all sounds are of one class.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = pathlib.Path(sounds or kmmft.data.write_tones(folder / "tones"))
    rows = _read(path, BadRows(skip_bad))
    names = sorted({row["label"] for row in rows})
    if len(names) < 2:
        raise ValueError(
            f"`--sounds` must be of two classes or more. Received: {str(path)!r} of "
            f"{names} alone."
        )
    random = np.random.default_rng(0)
    manifest = folder / "illustrated.csv"
    partial = manifest.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "split", "image", "audio", "text", "label"])
        for number, row in enumerate(rows):
            label = names.index(row["label"])
            shown, told = (
                _maybe_another(label, len(names), agrees, random)
                for agrees in (PICTURE_AGREES, TEXT_AGREES)
            )
            picture = folder / f"{number:06d}.png"
            encoded = tf.io.encode_png(_disc(shown / len(names), random))
            picture.write_bytes(encoded.numpy())
            split = row.get("split") or _split(row.get("group") or row["audio"])
            audio = (path.parent / row["audio"]).absolute()
            text = f"it sounds {names[told]}"
            writer.writerow(
                [number, split, picture.absolute(), audio, text, row["label"]]
            )
    partial.rename(manifest)
    return str(manifest)


def _read(path: pathlib.Path, bad_rows: BadRows) -> list[dict[str, str]]:
    rows = []
    for place, row in read_rows(path, ["audio", "label"], bad_rows):
        columns = [name for name in ("audio", "label", "split", "group") if name in row]
        try:
            rows.append({name: text_cell(row[name], name) for name in columns})
        except ValueError as error:
            bad_rows.add(place, str(error))
    return rows


def _maybe_another(
    label: int, number: int, agrees: float, random: np.random.Generator
) -> int:
    """The label, or with the probability 1 - `agrees` another one."""
    other = (label + random.integers(1, number)) % number
    return label if random.random() < agrees else int(other)


def _disc(hue: float, random: np.random.Generator) -> np.ndarray:
    """A disc of a hue on grey noise, uint8 `(SIZE, SIZE, 3)`."""
    color = tf.image.hsv_to_rgb([hue, 0.9, 0.9]).numpy()
    center = random.uniform(0.3, 0.7, 2) * SIZE
    away = np.indices((SIZE, SIZE)).transpose(1, 2, 0) - center
    inside = np.hypot(*away.transpose(2, 0, 1)) < 0.25 * SIZE
    picture = random.uniform(0.3, 0.8, (SIZE, SIZE, 1)).repeat(3, axis=2)
    picture[inside] = color
    return np.uint8(255 * picture)


def _split(group: str) -> str:
    """Of ten groups eight are for training and one for test, by a hash."""
    place = int(hashlib.sha256(group.encode()).hexdigest(), 16) % 10
    return {0: "test", 1: "validation"}.get(place, "train")
