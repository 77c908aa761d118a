"""Writes records as Parquet files that Hugging Face's `datasets` reads."""

import contextlib
import itertools
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from tfrecords_tools.audio_bytes import audio_extension
from tfrecords_tools.image_bytes import extension_of

_ROWS_AT_ONCE = 100
_DTYPES = {"integer": "int64", "float": "float64"}


def write_parquet(
    directory: pathlib.Path,
    split: str,
    kinds: dict[str, str],
    rows: Iterable[dict[str, Any]],
    shard_bytes: float,
) -> None:
    """Writes `SPLIT-00000.parquet`, ...: a column for each feature.

    Args:
        directory: Where to write.
        split: Name of the split.
        kinds: What each feature is, by `kinds_of`.
        rows: The records' values.
        shard_bytes: Size at which the next file is begun.

    Raises:
        ValueError: If a feature is neither text, image, sound, label nor number.
    """
    import pyarrow.parquet

    schema = _schema(kinds)
    shard, size, file = 0, 0, None
    with contextlib.ExitStack() as stack:
        for first, batch in _batches(rows):
            if file is None or size >= shard_bytes:
                stack.close()
                path = directory / f"{split}-{shard:05d}.parquet"
                file = stack.enter_context(pyarrow.parquet.ParquetWriter(path, schema))
                shard, size = shard + 1, 0
            converted = [
                _converted(row, kinds, first + place) for place, row in enumerate(batch)
            ]
            table = pyarrow.Table.from_pylist(converted, schema=schema)
            file.write_table(table)
            size += table.nbytes


def _batches(rows: Iterable[dict]) -> Iterator[tuple[int, list[dict]]]:
    """Some rows at a time, with the number of the first."""
    rows = iter(rows)
    for first in itertools.count(0, _ROWS_AT_ONCE):
        batch = list(itertools.islice(rows, _ROWS_AT_ONCE))
        if not batch:
            return
        yield first, batch


def _schema(kinds: dict[str, str]) -> Any:
    import pyarrow

    image = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    text = pyarrow.string()
    types = {"image": image, "audio": image, "label": text, "text": text}
    types |= {"integer": pyarrow.int64(), "float": pyarrow.float64()}
    fields, described = [], {}
    for name, kind in kinds.items():
        one = kind.removesuffix("s")
        if one not in types:
            raise ValueError(
                "Parquet holds texts, images, sounds, labels and numbers. Received: "
                f"the feature {name!r} of another kind; export to webdataset."
            )
        shown = {"_type": one.capitalize()}
        if one not in ("image", "audio"):
            shown = {"_type": "Value", "dtype": _DTYPES.get(one, "string")}
        if kind != one:
            fields.append(pyarrow.field(name, pyarrow.list_(types[one])))
            described[name] = {"_type": "Sequence", "feature": shown}
        else:
            fields.append(pyarrow.field(name, types[one]))
            described[name] = shown
    # What tells `datasets` that these are images.
    metadata = {"huggingface": json.dumps({"info": {"features": described}})}
    return pyarrow.schema(fields, metadata=metadata)


def _converted(row: dict[str, Any], kinds: dict[str, str], number: int) -> dict:
    def image(encoded: bytes) -> dict[str, Any]:
        return {"bytes": encoded, "path": f"{number:09d}.{extension_of(encoded)}"}

    converted = dict(row)
    for name, value in row.items():
        if kinds[name] == "image":
            converted[name] = image(value)
        elif kinds[name] == "audio":
            path = f"{number:09d}.{audio_extension(value)}"
            converted[name] = {"bytes": value, "path": path}
        elif kinds[name] == "images":
            converted[name] = [image(encoded) for encoded in value]
    return converted
