"""What is searched: settings of a recipe and the values that they may take."""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

# Each run has a directory of its own, and goes on there.
_OF_THE_SEARCH = ("output_dir", "resume")
_FORMS = "NAME=a|b|c, NAME=LOW..HIGH or NAME=LOW..HIGH:log"


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers between two, which both belong to it.

    Attributes:
        low: The smallest.
        high: The largest.
        log: Whether each factor counts the same, and not each difference.
    """

    low: int | float
    high: int | float
    log: bool = False


Space = dict[str, Range | list]


def parse_space(search: Sequence[str], base: Any) -> Space:
    """Reads what is to be searched.

    Args:
        search: One text a setting, in one of the forms `NAME=a|b|c`, `NAME=LOW..HIGH`
            and `NAME=LOW..HIGH:log`.
        base: The recipe's configuration, whose fields say what type a value has.

    Returns:
        A `Range` or a list of choices by name.

    Raises:
        ValueError: If a text has no such form, names no setting, one twice or one that
            the search itself needs, or has values that the setting cannot take, or one
            of them twice.

    Example:
        >>> import dataclasses
        >>> @dataclasses.dataclass(frozen=True)
        ... class Config:
        ...     learning_rate: float = 1e-3
        ...     width: int = 8
        >>> parse_space(["learning_rate=1e-4..1e-2:log", "width=8|16"], Config())
        {'learning_rate': Range(low=0.0001, high=0.01, log=True), 'width': [8, 16]}
    """
    fields = {
        field.name: type(getattr(base, field.name))
        for field in dataclasses.fields(base)
    }
    space = {}
    for text in search:
        name, found, values = text.partition("=")
        if not found or not values:
            raise ValueError(f"`--search` takes {_FORMS}. Received: {text!r}.")
        if name in _OF_THE_SEARCH:
            raise ValueError(
                f"The search itself sets {' and '.join(_OF_THE_SEARCH)} of its runs. "
                f"Received: {text!r}. Leave it out."
            )
        if name not in fields or name in space:
            near = difflib.get_close_matches(name, fields, 3) or sorted(fields)
            rule = "be one of the recipe's settings, each once"
            raise ValueError(
                f"What is searched must {rule}. Received: {name!r}. Near names: "
                f"{', '.join(near)}."
            )
        space[name] = _values(text, values, fields[name])
    return space


def flags_of(values: Mapping[str, Any]) -> list[str]:
    """Settings as a recipe's command line takes them.

    Example:
        >>> flags_of({"epochs": 3, "resume": False})
        ['--epochs=3', '--no_resume']
    """
    return [
        f"--{'' if value else 'no_'}{name}"
        if isinstance(value, bool)
        else f"--{name}={value}"
        for name, value in values.items()
    ]


def _values(text: str, values: str, kind: type) -> Range | list:
    if kind not in (int, float, str, bool):
        raise ValueError(
            "What is searched must be a number, a text, or true or false. Received: "
            f"{text!r}, a {kind.__name__}."
        )
    try:
        if ".." in values and kind in (int, float):
            span, _, scale = values.partition(":")
            low, _, high = span.partition("..")
            found = Range(_value(low, kind), _value(high, kind), scale == "log")
            if not found.low < found.high or scale not in ("", "log"):
                raise ValueError("the smaller number comes first, then :log or nothing")
            if found.log and found.low <= 0:
                raise ValueError("a logarithm needs numbers above 0")
            return found
        choices = [_value(choice, kind) for choice in values.split("|")]
        if len(set(choices)) < len(choices):
            raise ValueError("each choice once")
        return choices
    except ValueError as error:
        raise ValueError(
            f"`--search` takes {_FORMS}, with values of type {kind.__name__} here. "
            f"Received: {text!r} ({error})."
        ) from None


def _value(text: str, kind: type) -> Any:
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError("true or false")
        return text == "true"
    value = kind(text)
    if kind is float and not math.isfinite(value):
        raise ValueError("finite numbers")
    return value
