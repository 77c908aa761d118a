"""Text files that are written in one step."""

import os
import pathlib


def write_whole(path: pathlib.Path, text: str) -> pathlib.Path:
    """Writes a file under another name and renames it: nobody reads half of it.

    Args:
        path: The file, which is replaced if it is there; its folder is made.
        text: What it is to hold, in UTF-8, line breaks as they are.

    Returns:
        The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
