"""A trained classifier from wherever one was left."""

import os

import keras

from kmmft.models.fusion_classifier import FusionClassifier
from kmmft.models.saved_model_file import saved_model_file


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
    if not file.is_file():
        raise ValueError(
            "There must be a trained model. Received: "
            f"{str(path)!r}, which holds none. Train one by `python -m "
            "recipes.visual_question_answering`, and name its run directory."
        )
    model = keras.saving.load_model(file, compile=False)
    if not isinstance(model, FusionClassifier):
        raise ValueError(
            "The model must be a FusionClassifier. Received: "
            f"{str(path)!r}, which holds a {type(model).__name__}."
        )
    return model
