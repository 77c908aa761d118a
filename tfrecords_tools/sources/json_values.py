"""JSON in which nothing stands twice."""

import json
from typing import Any


def load_json(text: str | bytes) -> Any:
    """As `json.loads`, which of several values of one key keeps the last.

    Args:
        text: The JSON.

    Raises:
        ValueError: If it is no JSON, or an object has a key twice.

    Example:
        >>> load_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ...
        ValueError: the key 'a' stands in an object 2 times
    """
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        key = max(keys, key=keys.count)
        raise ValueError(f"the key {key!r} stands in an object {keys.count(key)} times")
    return found
