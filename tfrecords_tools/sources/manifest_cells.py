"""The values of single cells of a manifest, checked."""

import json
import math
from typing import Any

_LARGEST_FLOAT32 = 3.4e38


def is_empty(value: Any) -> bool:
    """Whether there is nothing in a cell."""
    return value is None or (isinstance(value, str) and not value.strip())


def text_cell(value: Any, column: str) -> str:
    """The text of a cell without surrounding white space.

    Args:
        value: What the manifest holds; numbers become texts.
        column: Its column, for errors.

    Raises:
        ValueError: If it is empty or no text.
    """
    if isinstance(value, float) and not math.isfinite(value):
        # Tables of numbers mark so what is missing: it is no class named NaN.
        raise ValueError(
            f"The column {column!r} holds {value}, no text and no finite number; leave "
            "the cell empty where there is nothing."
        )
    if isinstance(value, bool | int | float):
        value = json.dumps(value)
    if value is not None and not isinstance(value, str):
        raise ValueError(
            f"The column {column!r} holds a {type(value).__name__}, not a text; mend "
            "it."
        )
    text = (value or "").strip()
    if not text:
        raise ValueError(f"The column {column!r} is empty; fill it in.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # JSON can hold half of a character: "\\ud83d".
        raise ValueError(
            f"The column {column!r} holds no valid Unicode ({error}); mend it."
        ) from error
    return text


def number_cell(value: Any, column: str) -> float:
    """The finite number of a cell.

    Args:
        value: What the manifest holds, a number or a text.
        column: Its column, for errors.

    Raises:
        ValueError: If it is empty or no number.

    Example:
        >>> number_cell(" 2.5", "age")
        2.5
    """
    text = text_cell(value, column)
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError(
            f"The column {column!r} holds {text[:40]!r}, not a number; mend it."
        ) from error
    if not abs(number) < _LARGEST_FLOAT32:
        raise ValueError(
            f"The column {column!r} holds {text[:40]!r}, which is no finite float32; "
            "leave the cell empty where there is no number."
        )
    return number
