"""A trained classifier from wherever one was left."""

import os

from kmmft.models.fusion_classifier import FusionClassifier
from kmmft.models.saved_model_file import load_saved_model, saved_model_file


def load_fusion_classifier(path: str | os.PathLike) -> FusionClassifier:
    """Loads a `FusionClassifier` that was trained here.

    Args:
        path: The run directory of `recipes.visual_question_answering`, or a `.keras`
            file.

    Returns:
        `FusionClassifier`, not compiled.

    Raises:
        ValueError: If there is no model.

    Example::

        model = kmmft.models.load_fusion_classifier("runs/quickstart")
        model.classify({"image": [jpeg_bytes], "question": ["what colour is it?"]})
    """
    file = saved_model_file(path)
    return load_saved_model(
        file, path, FusionClassifier, recipe="recipes.visual_question_answering"
    )
