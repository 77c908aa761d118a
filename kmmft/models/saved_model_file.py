"""Where a run of a recipe keeps its trained model."""

import os
import pathlib

import keras


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


def load_saved_model(
    file: pathlib.Path, path: str | os.PathLike, *kinds: type, recipe: str
) -> keras.Model:
    """Loads a model from its file, not compiled.

    Args:
        file: What `saved_model_file` found.
        path: What was asked for, to be named in errors.
        *kinds: Classes of which it must be one.
        recipe: Module that trains such a model.

    Returns:
        The model.

    Raises:
        ValueError: If there is no such file, or it holds another kind of model.
    """
    if not file.is_file():
        what = "holds none" if file.exists() else "does not exist"
        raise ValueError(
            "There must be a trained model. Received: "
            f"{str(path)!r}, which {what}. Train one by `python -m {recipe}`, and "
            "name its run directory."
        )
    model = keras.saving.load_model(file, compile=False)
    if not isinstance(model, kinds):
        names = " or a ".join(kind.__name__ for kind in kinds)
        raise ValueError(
            f"The model must be a {names}. Received: "
            f"{str(path)!r}, which holds a {type(model).__name__}."
        )
    return model
