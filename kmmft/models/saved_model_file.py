"""Where a run of a recipe keeps its trained model."""

import os
import pathlib


def saved_model_file(path: str | os.PathLike) -> pathlib.Path:
    """The file `model.keras` of a run directory; any other path as it is.

    Args:
        path: A run directory, or a path of another kind.

    Returns:
        The path of the file.

    Raises:
        ValueError: If the run is not complete.
    """
    file = pathlib.Path(path)
    if (file / "model.keras").exists():
        return file / "model.keras"
    if (file / "run.log").exists():
        raise ValueError(
            "A run must be complete before its model can be used. Received: "
            f"{str(path)!r} without model.keras. Run its recipe again: it goes on."
        )
    return file
