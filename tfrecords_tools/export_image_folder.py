"""Writes records as image files with a list of their other values."""

import json
import pathlib
import urllib.parse
from collections.abc import Iterable
from typing import Any

from tfrecords_tools.image_bytes import extension_of


def write_image_folder(
    directory: pathlib.Path,
    split: str,
    kinds: dict[str, str],
    rows: Iterable[dict[str, Any]],
    shard_bytes: float,
) -> None:
    """Writes `SPLIT/KEY.jpg`, or `SPLIT/CLASS/KEY.jpg`, and `SPLIT/metadata.jsonl`.

    Args:
        directory: Where to write.
        split: Name of the split.
        kinds: What each feature is, by `kinds_of`.
        rows: The records' values.
        shard_bytes: Has no effect: each image is a file.

    Raises:
        ValueError: If records do not have one image each, or several labels.
    """
    images = [name for name, kind in kinds.items() if kind == "image"]
    labels = [name for name, kind in kinds.items() if kind == "label"]
    if len(images) != 1 or "images" in kinds.values() or len(labels) > 1:
        raise ValueError(
            "An image folder has one image a record, and one label at most. Received: "
            f"features {kinds}; export to webdataset or parquet."
        )
    folder = directory / split
    folder.mkdir()
    with open(folder / "metadata.jsonl", "w", encoding="utf-8") as listed:
        for number, row in enumerate(rows):
            encoded = row.pop(images[0])
            name = f"{number:09d}.{extension_of(encoded)}"
            if labels and row[labels[0]] is not None:
                # A class may be named by what no folder can be.
                of_class = urllib.parse.quote(row[labels[0]], safe=" ")
                (folder / of_class).mkdir(exist_ok=True)
                name = f"{of_class}/{name}"
            (folder / name).write_bytes(encoded)
            line = {"file_name": name, **row}
            listed.write(json.dumps(line, ensure_ascii=False) + "\n")
