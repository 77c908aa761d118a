"""How large an exported model is."""

import pathlib


def megabytes(directory: pathlib.Path) -> float:
    """Size of all files below a directory, in units of 2**20 bytes."""
    files = (file for file in directory.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files) / 2**20
