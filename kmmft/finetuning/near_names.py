"""Names that a mistyped pattern may have meant."""

import difflib
from collections.abc import Iterable


def near_names(pattern: str, paths: Iterable[str], count: int = 3) -> list[str]:
    """Paths, or beginnings of paths, that look most like a pattern.

    Args:
        pattern: An `fnmatch` pattern.
        paths: Paths of layers or weights.
        count: How many at most.

    Returns:
        The nearest first; the first beginnings where nothing is near.

    Example:
        >>> near_names = kmmft.finetuning.near_names.near_names
        >>> paths = ["image_encoder/dense/kernel", "logits/bias"]
        >>> near_names("image_encodr/*", paths)[0]
        'image_encoder/*'
    """
    beginnings = {}
    for path in paths:
        parts = path.split("/")
        for end in range(1, len(parts)):
            beginnings.setdefault("/".join(parts[:end]), f"{'/'.join(parts[:end])}/*")
        beginnings.setdefault(path, path)
    wanted = pattern.replace("*", "").strip("/")
    near = difflib.get_close_matches(wanted, beginnings, count) or [
        name for name in beginnings if "/" not in name
    ]
    return [beginnings[name] for name in near[:count]]
