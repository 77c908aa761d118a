"""Exports a kmmft model with its own serving functions."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from kmmft.export.saved_model import CheckedModel, export_saved_model
from kmmft.export.signature import Signature


def export_model(
    model: keras.Model,
    path: str | os.PathLike,
    examples: Mapping[str, Sequence],
    tolerance: float = 1e-4,
    version: int | None = None,
    finish: Callable[[CheckedModel], None] | None = None,
    **options: Any,
) -> pathlib.Path:
    """Exports a model of `kmmft.models` with its signatures.

    Each row of a request is answered on its own. An image that cannot be decoded, or
    has too many pixels, spoils no other row: signatures that take images return
    `error`, empty for good rows, beside what else they return.

    | model | signatures |
    |---|---|
    | `FusionClassifier` | `serving_default`, also called `answer`, `classify` or
      `regress`; `encode_<modality>` |
    | `DualEncoder`, `TightVideoText` | `serving_default` (likeness of pairs),
      `encode_<modality>`, `rank`, `zero_shot_by_embedding`, `zero_shot` |
    | `CoCa` | those of `DualEncoder`, and `caption` |
    | `FusionGenerator` | `serving_default` (texts) |
    | `TokenClassifier` | `serving_default`, also called `tag` (texts, perhaps each with
      an image); `tag_words` (texts whose words stand between spaces) |
    | `QuestionAnswerer` | `serving_default`, also called `answer` |
    | `MultiTask` | those of its tasks, as `<task>` and `<task>_<name>` |

    Args:
        model: The model.
        path: Base directory; the model is written to `path/VERSION/`.
        examples: Real raw inputs by name, a few of each, for the parity check.
        tolerance: Largest difference from this process that is let pass.
        version: As in `export_saved_model`.
        finish: As in `export_saved_model`.
        **options: What the model's `serving_functions` takes: `strict`, whether a bad
            image fails its whole batch instead; `max_pixels`, of how many pixels an
            image may be (50 million); and for towers `class_names` and `templates` of
            `zero_shot`.

    Returns:
        The directory of the version.

    Raises:
        ValueError: As `export_saved_model`, or if the model has no such option.
    """
    return export_saved_model(
        path,
        model_signatures(model, **options),
        resources=[model],
        examples=examples,
        tolerance=tolerance,
        version=version,
        finish=finish,
    )


def model_signatures(model: keras.Model, **options: Any) -> dict[str, Signature]:
    """The signatures of a model of `kmmft.models`.

    Args:
        model: The model.
        **options: As for `export_model`.

    Returns:
        Signatures by name.

    Raises:
        ValueError: If the model has no such option.
    """
    try:
        functions = model.serving_functions(**options)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise ValueError(
            f"A {type(model).__name__} is served without that. "
            f"Received: {options} ({error}). Leave it out."
        ) from error
    signatures = {
        id(served): Signature(served.function, served.inputs, served.examples)
        for served in functions.values()
    }
    return {name: signatures[id(served)] for name, served in functions.items()}
