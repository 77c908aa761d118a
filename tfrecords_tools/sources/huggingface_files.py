"""Finds and reads the Parquet and Arrow files of Hugging Face's `datasets`."""

import contextlib
import dataclasses
import glob
import json
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tfrecords_tools.sources.split_names import split_name

if TYPE_CHECKING:
    import pyarrow

_ENDINGS = (".parquet", ".arrow")
_ROWS_AT_ONCE = 100
# train-00000-of-00008.parquet; without the "of", as `export` writes it.
_SHARD = re.compile(r"(?P<split>[A-Za-z]\w*)-\d{4,}(-of-\d+)?")
# What Hugging Face's `datasets` takes for the name of a split in a path.
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


@dataclasses.dataclass(frozen=True)
class TableFile:
    """A Parquet or Arrow file.

    Attributes:
        path: Where it is.
        name: What places and errors call it: its path in the directory given.
        split: Its split; None if nothing names one.
    """

    path: pathlib.Path
    name: str
    split: str | None


def find_tables(data: Sequence[str]) -> list[TableFile]:
    """The files that are meant by paths.

    Args:
        data: Files, directories or patterns (`data/train-*.parquet`), each as PATH or
            SPLIT=PATH. Directories may be such as `save_to_disk` writes, or hold files
            whose names or folders name the splits.

    Returns:
        The files in order, each once.

    Raises:
        ValueError: If there are none.
    """
    found: dict[pathlib.Path, TableFile] = {}
    for written in data:
        split, _, pattern = written.rpartition("=")
        if pathlib.Path(written).exists():
            split, pattern = "", written
        tables = [table for path in sorted(glob.glob(pattern)) for table in _at(path)]
        if not tables:
            raise ValueError(
                "data must be Parquet or Arrow files, or directories with some, each "
                f"as PATH or SPLIT=PATH. Received: {written}, where there are none; "
                "mend the path."
            )
        for table in tables:
            own = split_name(split) if split else table.split
            found.setdefault(table.path, dataclasses.replace(table, split=own))
    return list(found.values())


def _at(written: str) -> Iterator[TableFile]:
    root = pathlib.Path(written)
    if root.is_file():
        if root.suffix in _ENDINGS:
            yield TableFile(root, root.name, _split_in(pathlib.Path(root.name)))
        return
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.suffix in _ENDINGS and path.is_file() and not hidden:
            state = _state(path.parent)
            # What `save_to_disk` does not list is left from computations.
            if state is None or path.name in state["files"]:
                split = (state and state["split"]) or _split_in(inside)
                yield TableFile(path, inside.as_posix(), split)


def _state(folder: pathlib.Path) -> dict[str, Any] | None:
    """What `save_to_disk` says of the files of a folder; None if it is not from it."""
    try:
        state = json.loads((folder / "state.json").read_bytes())
        files = {file["filename"] for file in state["_data_files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    split = state.get("_split")
    return {"files": files, "split": split_name(split) if split else None}


def _split_in(path: pathlib.Path) -> str | None:
    """The split that a path names, by the rules of `datasets`."""
    shard = _SHARD.fullmatch(path.stem)
    if shard and shard["split"] != "data":
        return split_name(shard["split"])
    for part in (path.stem, *reversed(path.parent.parts)):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLIT_WORDS:
                return _SPLIT_WORDS[word]
    return None


@contextlib.contextmanager
def open_table(
    table: TableFile,
) -> Iterator[tuple["pyarrow.Schema", Iterator["pyarrow.RecordBatch"]]]:
    """Opens a table: its schema, and its rows some at a time.

    Args:
        table: The file.

    Raises:
        ValueError: If it is no such file.
    """
    import pyarrow
    import pyarrow.parquet

    with contextlib.ExitStack() as stack:
        try:
            if table.path.suffix == ".parquet":
                file = stack.enter_context(pyarrow.parquet.ParquetFile(table.path))
                opened = file.schema_arrow, file.iter_batches(_ROWS_AT_ONCE)
            else:
                source = stack.enter_context(pyarrow.memory_map(str(table.path)))
                opened = _open_arrow(source)
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(
                "Tables must be whole Parquet or Arrow files. Received: "
                f"{table.path} ({_line(error)}); fetch it again."
            ) from error
        yield opened


def _open_arrow(source: Any) -> tuple[Any, Iterator[Any]]:
    import pyarrow

    # `datasets` writes streams, Feather and others files with a table of contents.
    if source.read(6) == b"ARROW1":
        file = pyarrow.ipc.open_file(source)
        parts = (file.get_batch(number) for number in range(file.num_record_batches))
    else:
        source.seek(0)
        file = parts = pyarrow.ipc.open_stream(source)
    return file.schema, (
        part.slice(start, _ROWS_AT_ONCE)
        for part in parts
        for start in range(0, part.num_rows, _ROWS_AT_ONCE)
    )


def class_names_in(schema: "pyarrow.Schema") -> dict[str, list[str]]:
    """The names of the classes of the columns that are labels, in their order."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])
        features = described["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {
        column: [str(name) for name in feature["names"]]
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
