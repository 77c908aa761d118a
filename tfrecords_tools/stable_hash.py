"""Splits and order that depend on names only: the same on every machine and day."""

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def check_fractions(validation_fraction: float, test_fraction: float = 0.0) -> None:
    """Raises ValueError if the fractions leave nothing for training."""
    fractions = (validation_fraction, test_fraction)
    if not all(0 <= fraction < 1 for fraction in fractions) or sum(fractions) >= 1:
        raise ValueError(
            "validation_fraction and test_fraction must be at least 0 and together "
            f"less than 1. Received: validation_fraction={validation_fraction}, "
            f"test_fraction={test_fraction}; choose smaller ones."
        )


def choose_split(
    key: str, validation_fraction: float, test_fraction: float = 0.0
) -> str:
    """The split of everything that has this key.

    More rows never move a key to another split, and rows with one key (questions
    about one image) stay together.

    Args:
        key: What must not be torn apart, such as the path of an image.
        validation_fraction: Share of the keys for `"validation"`.
        test_fraction: Share of the keys for `"test"`.

    Returns:
        `"train"`, `"validation"` or `"test"`.

    Example:
        >>> choose_split("cat.jpg", validation_fraction=0.0)
        'train'
    """
    position = int.from_bytes(hash_key(key)[:8], "big") / 2**64
    if position < validation_fraction:
        return "validation"
    if position < validation_fraction + test_fraction:
        return "test"
    return "train"


def in_hash_order(items: Iterable[T], key: Callable[[T], str]) -> list[T]:
    """The items in an order that looks random and depends on their keys only."""
    # Salted, so that the order says nothing about the split.
    return sorted(items, key=lambda item: hash_key(f"order {key(item)}"))


def hash_key(text: str) -> bytes:
    """32 bytes that look random and depend on the text only.

    Example:
        >>> hash_key("cat.jpg").hex()[:4]
        '0a6d'
    """
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
