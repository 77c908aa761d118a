"""The names of splits as people write them."""

_VALIDATION = ("val", "valid", "dev")


def split_name(written: str) -> str:
    """The name to write: lower case, `validation` for `val`, `valid` and `dev`.

    Example:
        >>> split_name("Val"), split_name("test")
        ('validation', 'test')
    """
    name = written.strip().lower()
    return "validation" if name in _VALIDATION else name
