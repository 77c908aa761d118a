"""A trained model from wherever one was left."""

import os

from kmmft.models.coca import CoCa
from kmmft.models.dual_encoder import DualEncoder
from kmmft.models.saved_model_file import load_saved_model, saved_model_file


def load_dual_encoder(path: str | os.PathLike) -> DualEncoder | CoCa:
    """Loads what compares images with texts: trained here, or a checkpoint.

    Args:
        path: The run directory of `recipes.contrastive` or of `recipes.captioning
            --model coca`, a `.keras` file, or what `DualEncoder.from_checkpoint` takes.

    Returns:
        `DualEncoder` or `CoCa`, not compiled.

    Raises:
        ValueError: If there is no model.

    Example::

        model = kmmft.models.load_dual_encoder("runs/contrastive")
        model.encode_text(["a red circle"])
    """
    file = saved_model_file(path)
    if file.is_dir() or "://" in str(path) or file.suffix == ".safetensors":
        return DualEncoder.from_checkpoint(os.fspath(path))
    return load_saved_model(file, path, DualEncoder, CoCa, recipe="recipes.contrastive")
