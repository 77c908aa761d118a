"""The order of class names, and so the numbers of the labels."""

from collections.abc import Iterable


def sorted_class_names(names: Iterable[str]) -> list[str]:
    """The names once each, sorted; names that are all whole numbers by value.

    Example:
        >>> sorted_class_names(["10", "9", "9"])
        ['9', '10']
        >>> sorted_class_names(["dog", "cat", "9"])
        ['9', 'cat', 'dog']
    """
    names = sorted(set(names))
    if all(name.isascii() and name.isdigit() for name in names):
        names.sort(key=int)
    return names
