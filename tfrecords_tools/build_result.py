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
    """

    directory: pathlib.Path
    num_records: dict[str, int]
    num_bytes: int
    num_skipped: int
    seconds: float

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {n:,}" for name, n in self.num_records.items())
        skipped = f", {self.num_skipped:,} rows skipped" if self.num_skipped else ""
        return (
            f"{self.directory}: {counts} records{skipped}, "
            f"{self.num_bytes / 1e6:,.1f} MB, {self.seconds:.1f} s"
        )
