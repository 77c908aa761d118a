"""What patterns over names choose."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def matching_names(
    named: Mapping[str, Any],
    patterns: str | Sequence[str],
    refusal: Callable[[str], str],
) -> dict[str, Any]:
    """Chooses by `fnmatch` patterns, each of which must match.

    Args:
        named: Anything by name.
        patterns: One pattern or several.
        refusal: Message for a pattern that matches no name.

    Returns:
        Those whose name matches a pattern, in the order of `named`.

    Raises:
        ValueError: If a pattern matches no name.
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in patterns:
        if not fnmatch.filter(named, pattern):
            raise ValueError(refusal(pattern))
    return {
        name: value
        for name, value in named.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }
