"""A trained model from wherever one was left."""

import os

import keras

from kmmft.models.dual_encoder import DualEncoder
from kmmft.models.saved_model_file import saved_model_file


def load_dual_encoder(path: str | os.PathLike) -> DualEncoder:
    """Loads a `DualEncoder` that was trained here, or a CLIP or SigLIP checkpoint.

    Args:
        path: The run directory of `recipes.contrastive`, a `.keras` file, or what
            `DualEncoder.from_checkpoint` takes.

    Returns:
        `DualEncoder`, not compiled.

    Raises:
        ValueError: If there is no model.

    Example::

        model = kmmft.models.load_dual_encoder("runs/contrastive")
        model.encode_text(["a red circle"])
    """
    file = saved_model_file(path)
    if file.is_dir() or "://" in str(path) or file.suffix == ".safetensors":
        return DualEncoder.from_checkpoint(os.fspath(path))
    if not file.is_file():
        raise ValueError(
            "There must be a trained model. Received: "
            f"{str(path)!r}, which does not exist. Train one by `python -m "
            "recipes.contrastive`, and name its run directory."
        )
    model = keras.saving.load_model(file, compile=False)
    if not isinstance(model, DualEncoder):
        raise ValueError(
            "The model must be a DualEncoder. Received: "
            f"{str(path)!r}, which holds a {type(model).__name__}."
        )
    return model
