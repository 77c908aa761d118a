"""Writes records as WebDataset's shards."""

import contextlib
import io
import json
import pathlib
import tarfile
from collections.abc import Iterable
from typing import Any

from tfrecords_tools.audio_bytes import audio_extension
from tfrecords_tools.image_bytes import extension_of


def write_webdataset(
    directory: pathlib.Path,
    split: str,
    kinds: dict[str, str],
    rows: Iterable[dict[str, Any]],
    shard_bytes: float,
) -> None:
    """Writes `SPLIT-000000.tar`, ...: `KEY.jpg` (or `KEY.wav`) and `KEY.json`.

    Of several images the files are `KEY.0.jpg`, `KEY.1.jpg`, ...

    Args:
        directory: Where to write.
        split: Name of the split.
        kinds: What each feature is, by `kinds_of`.
        rows: The records' values.
        shard_bytes: Size at which the next shard is begun.
    """
    shard, archive = 0, None
    with contextlib.ExitStack() as stack:
        for number, row in enumerate(rows):
            if archive is None or archive.offset >= shard_bytes:
                stack.close()
                path = directory / f"{split}-{shard:06d}.tar"
                archive = stack.enter_context(tarfile.open(path, "w"))
                shard += 1
            for suffix, content in _members(row, kinds):
                # Neither time nor owner: the same records are the same bytes.
                member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def _members(row: dict[str, Any], kinds: dict[str, str]) -> Iterable[tuple[str, bytes]]:
    values = {}
    for name, value in row.items():
        if kinds[name] == "image":
            yield extension_of(value), value
        elif kinds[name] == "images":
            for place, encoded in enumerate(value):
                yield f"{place}.{extension_of(encoded)}", encoded
        elif kinds[name] == "audio":
            yield audio_extension(value), value
        else:
            values[name] = value
    yield "json", json.dumps(values, ensure_ascii=False).encode()
