"""What happens to the rows of a source that cannot become records."""

import dataclasses
import json
import logging

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a row stands: a file, and a line of it if the file has several rows."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file} line {self.line}"


@dataclasses.dataclass
class BadRows:
    """Stops at the first bad row, or keeps a list of them.

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
        _logger.warning("Skipped %s: %s", place, reason)
        self.found.append((place, reason))

    def to_jsonl(self) -> str:
        """One JSON object a line, with `file`, `line` and `reason`."""
        return "".join(
            json.dumps(
                {"file": place.file, "line": place.line, "reason": reason},
                ensure_ascii=False,
            )
            + "\n"
            for place, reason in self.found
        )
