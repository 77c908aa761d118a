"""What happens to the rows of a source that cannot become records."""

import collections
import dataclasses
import json
import logging
from collections.abc import Iterator

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a row stands: a file, and a line of it if the file has several rows."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file} line {self.line}"


class LeftOut(Exception):
    """A row that is well, but that the user does not want.

    Args:
        filter: Name of the option that says so.
        reason: Why, one sentence.
    """

    def __init__(self, filter: str, reason: str):
        super().__init__(reason)
        self.filter = filter
        self.reason = reason


@dataclasses.dataclass
class BadRows:
    """Stops at the first bad row, or keeps a list of them; and of those left out.

    Args:
        skip_bad: Leave bad rows out, log and list them, instead of raising.

    Example:
        >>> bad_rows = BadRows(skip_bad=True)
        >>> bad_rows.add(Place("pairs.csv", 7), "The caption is empty; fill it in.")
        >>> bad_rows.to_jsonl()
        '{"file": "pairs.csv", "line": 7, "reason": "The caption is empty; fill it in."}\\n'
    """  # noqa: E501

    skip_bad: bool
    found: list[tuple[Place, str]] = dataclasses.field(default_factory=list)
    left_out: list[tuple[Place, LeftOut]] = dataclasses.field(default_factory=list)

    def add(self, place: Place, reason: str) -> None:
        """Notes a bad row.

        Args:
            place: Where the row stands.
            reason: What is wrong with it and how to mend it, one sentence.

        Raises:
            ValueError: If bad rows are not to be skipped.
        """
        if not self.skip_bad:
            raise ValueError(
                f"{place}: {reason} Or pass skip_bad=True (--skip_bad) to leave such "
                "rows out."
            )
        _logger.warning("Skipped %s", _printable(f"{place}: {reason}"))
        self.found.append((place, reason))

    def leave_out(self, place: Place, why: LeftOut) -> None:
        """Notes a row that a filter takes out; never an error."""
        _logger.debug("Left out %s (%s): %s", place, why.filter, why.reason)
        self.left_out.append((place, why))

    def counts(self) -> dict[str, int]:
        """Rows that are not written by reason: `bad`, or the name of a filter."""
        counts = collections.Counter({"bad": len(self.found)})
        counts.update(why.filter for _, why in self.left_out)
        return {reason: count for reason, count in counts.items() if count}

    def to_jsonl(self) -> str:
        """One JSON object a line: `file`, `line`, `reason`, and perhaps `filter`."""
        return "".join(
            json.dumps(row, ensure_ascii=False) + "\n" for row in self._rows()
        )

    def _rows(self) -> Iterator[dict[str, str | int | None]]:
        for place, reason in self.found:
            yield {"file": place.file, "line": place.line, "reason": reason}
        for place, why in self.left_out:
            row = {"file": place.file, "line": place.line, "reason": why.reason}
            yield row | {"filter": why.filter}


def _printable(text: str) -> str:
    """As a log can hold it: a file name's bytes need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
