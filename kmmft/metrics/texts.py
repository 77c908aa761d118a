"""Generated texts beside their references, checked before they are compared."""

import importlib
import types
from collections.abc import Iterable, Sequence


def check_texts(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    may_lack: bool = False,
):
    """Raises unless each prediction has at least one reference.

    Args:
        predictions: One text an example.
        references: Any number of texts an example, at least one.
        may_lack: Whether an example may also have no reference.

    Returns:
        Both, as lists.

    Raises:
        ValueError: If there is no example, the numbers of examples differ, an example
            has no reference, or something is not a string.
    """
    predictions = _strings("predictions", predictions)
    lists = [] if _is_no_list(references) else list(references)
    wrong = [own for own in [references, *lists] if _is_no_list(own)]
    if wrong:
        raise ValueError(
            "`references` must hold a list of texts for each example. Received: "
            f"{type(wrong[0]).__name__} {wrong[0]!r:.60} where a list should be. Put "
            "each reference into a list of its own."
        )
    references = [_strings("references", texts) for texts in references]
    if not predictions or len(predictions) != len(references):
        raise ValueError(
            "There must be an example, and as many lists of references as predictions. "
            f"Received: {len(predictions)} predictions and {len(references)} lists of "
            "references."
        )
    empty = [row for row, texts in enumerate(references) if not texts]
    if empty and not may_lack:
        raise ValueError(
            "Every example must have a reference. Received: none for "
            f"{len(empty)} examples, the first is row {empty[0]}. Leave them out."
        )
    return predictions, references


def import_text_metrics(name: str) -> types.ModuleType:
    """Imports one of the packages of the extra `text_metrics`.

    Raises:
        ImportError: If it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{error}. Metrics of generated text need: pip install kmmft[text_metrics]"
        ) from error


def _is_no_list(texts: Sequence) -> bool:
    return isinstance(texts, str | bytes) or not isinstance(texts, Iterable)


def _strings(name: str, texts: Sequence[str]) -> list[str]:
    if _is_no_list(texts):
        raise ValueError(
            f"`{name}` must be a list of strings. Received: {type(texts).__name__} "
            f"{texts!r:.60}. Put it into a list."
        )
    texts = list(texts)
    wrong = [text for text in texts if not isinstance(text, str)]
    if wrong:
        raise ValueError(
            f"`{name}` must be strings. Received: {type(wrong[0]).__name__} "
            f"{wrong[0]!r:.60}. Decode bytes with .decode('utf-8')."
        )
    return texts
