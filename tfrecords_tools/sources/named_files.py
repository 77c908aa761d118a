"""Files that a command line gives with the names of their splits."""

import pathlib
from collections.abc import Sequence

from tfrecords_tools.sources.split_names import split_name


def named_files(files: Sequence[str]) -> list[tuple[str | None, pathlib.Path]]:
    """Splits and paths of files, each given as SPLIT=FILE or FILE.

    Args:
        files: As they were given.

    Returns:
        Split, None where none is given, and path of each.

    Raises:
        ValueError: If there is none, one is no file or comes twice, or a split's name
            is none.

    Example:
        >>> _ = pathlib.Path("a.txt").write_text("")
        >>> named_files(["dev=a.txt"])
        [('validation', PosixPath('a.txt'))]
    """
    if not files:
        raise ValueError("There must be a file. Received: none.")
    found = []
    for given in files:
        written, named, file = given.rpartition("=")
        split = split_name(written) if named else None
        path = pathlib.Path(file)
        if not path.is_file() or (split is not None and not split.isidentifier()):
            raise ValueError(
                "Files must be there, each given as SPLIT=FILE or FILE. Received: "
                f"{given!r}."
            )
        found.append((split, path))
    paths = [path.resolve() for _, path in found]
    twice = [files[place] for place, x in enumerate(paths) if paths.count(x) > 1]
    if twice:
        raise ValueError(
            "A file must be given once, or what is learnt would be tested. Received: "
            f"{' and '.join(twice)}."
        )
    return found


def read_text(path: pathlib.Path) -> str:
    """The text of a file, which must be UTF-8.

    Raises:
        ValueError: If it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"A file must be readable and UTF-8. Received: {path} ({error})."
        ) from error
