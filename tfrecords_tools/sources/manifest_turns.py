"""The turns of a dialogue as one text."""

from collections.abc import Iterable, Iterator
from typing import Any

from tfrecords_tools.bad_rows import Place


def joined_turns(
    rows: Iterable[tuple[Place, dict[str, Any]]], column: str, separator: str
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Rows in which lists of texts in a column are one text each.

    Args:
        rows: Where each row stands, and its values by column.
        column: The column; what is no list of texts there stays as it is.
        separator: What is put between two texts.

    Example:
        >>> rows = [(None, {"said": ["Hi!", "Hello."]})]
        >>> [(_, row)] = joined_turns(rows, "said", "|")
        >>> row["said"]
        'Hi!|Hello.'
    """
    for place, row in rows:
        turns = row[column]
        if isinstance(turns, list) and all(isinstance(turn, str) for turn in turns):
            row = {**row, column: separator.join(turn.strip() for turn in turns)}
        yield place, row
