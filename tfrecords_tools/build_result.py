"""What a build tells when it is done."""

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True)
class BuildResult:
    """What a build wrote.

    Attributes:
        directory: The data directory.
        num_records: Records by split.
        num_bytes: Size of all files.
        num_skipped: Rows that were left out; `skipped.jsonl` lists them.
        seconds: Time that the build took.
        skipped: Rows that were left out, by reason: `bad`, or the name of a filter.
    """

    directory: pathlib.Path
    num_records: dict[str, int]
    num_bytes: int
    num_skipped: int
    seconds: float
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.directory}: {_counts(self.num_records)} records"
            f"{_skipped(self.skipped, self.num_skipped)}, "
            f"{self.num_bytes / 1e6:,.1f} MB, {self.seconds:.1f} s"
        )


@dataclasses.dataclass(frozen=True)
class BuildPlan:
    """What a build would write, as far as can be told without reading images.

    Attributes:
        directory: The data directory, which is not there.
        num_records: Records by split.
        skipped: Rows that would be left out, by reason.
        num_missing: Images or videos that are not there.
        sample: Some records, each as text.
    """

    directory: pathlib.Path
    num_records: dict[str, int]
    skipped: dict[str, int]
    num_missing: int
    sample: tuple[str, ...]

    def __str__(self) -> str:
        missing = f", {self.num_missing:,} files missing" if self.num_missing else ""
        return "\n".join(
            [
                f"{self.directory} (dry run, nothing is written): "
                f"{_counts(self.num_records)} records"
                f"{_skipped(self.skipped, sum(self.skipped.values()))}{missing}",
                *self.sample,
            ]
        )


def _counts(by_name: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in by_name.items())


def _skipped(by_reason: dict[str, int], total: int) -> str:
    if not total:
        return ""
    reasons = f" ({_counts(by_reason)})" if by_reason.keys() - {"bad"} else ""
    return f", {total:,} rows skipped{reasons}"
