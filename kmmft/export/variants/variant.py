"""What was measured of a variant, and the choice among several."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

from kmmft.training.whole_files import write_whole

FILE = "variants.json"


@dataclasses.dataclass(frozen=True)
class Variant:
    """One row of the table of variants.

    Attributes:
        name: Its kind; `float32` is the export that the others are compared with.
        directory: Where it is; None if it was refused.
        size_mb: All its files, in 2**20 bytes; None if it could not be made.
        latency_ms: Median milliseconds from raw inputs to answers, by batch size.
        score: What `evaluate` said.
        drop: Score of `float32` less this one's.
        refused: Why there is no such variant; empty if there is.
    """

    name: str
    directory: str | None = None
    size_mb: float | None = None
    latency_ms: Mapping[int, float] = dataclasses.field(default_factory=dict)
    score: float | None = None
    drop: float | None = None
    refused: str = ""


def choose_variant(
    variants: Sequence[Variant],
    max_latency_ms: float | None = None,
    max_size_mb: float | None = None,
    batch_size: int = 1,
) -> Variant:
    """Chooses the most accurate variant within a budget.

    Args:
        variants: What `export_variants` returned.
        max_latency_ms: Longest time of a batch; default: any.
        max_size_mb: Largest size; default: any.
        batch_size: The batch whose time counts; one that was measured.

    Returns:
        The one with the highest score; of equal ones the fastest.

    Raises:
        ValueError: If none is within the budget.

    Example:
        >>> large = kmmft.export.Variant("float32", "a", 100.0, {1: 20.0}, 0.91, 0.0)
        >>> small = kmmft.export.Variant("int8", "b", 25.0, {1: 21.0}, 0.90, 0.01)
        >>> kmmft.export.choose_variant([large, small], max_size_mb=50).name
        'int8'
    """
    kept = [variant for variant in variants if not variant.refused]
    if not kept or any(batch_size not in variant.latency_ms for variant in kept):
        raise ValueError(
            "`batch_size` must be one that was measured of all variants. Received: "
            f"{batch_size}, with { {v.name: sorted(v.latency_ms) for v in kept} }."
        )
    fitting = [
        variant
        for variant in kept
        if (max_latency_ms is None or variant.latency_ms[batch_size] <= max_latency_ms)
        and (max_size_mb is None or variant.size_mb <= max_size_mb)
    ]
    if not fitting:
        offered = ", ".join(
            f"{v.name} ({v.size_mb:.1f} MB, {v.latency_ms[batch_size]:.1f} ms)"
            for v in kept
        )
        raise ValueError(
            "A variant must be within the budget. Received: "
            f"max_latency_ms={max_latency_ms}, max_size_mb={max_size_mb}; there are "
            f"{offered}. Allow more, or train a smaller model."
        )
    return max(fitting, key=lambda v: (v.score, -v.latency_ms[batch_size]))


def write_variants(directory: pathlib.Path, variants: Sequence[Variant]) -> None:
    """Writes the table into the directory of the variants, in one step."""
    text = json.dumps([dataclasses.asdict(v) for v in variants], indent=2)
    write_whole(directory / FILE, text + "\n")


def read_variants(directory: str | os.PathLike) -> list[Variant]:
    """Reads the table that `export_variants` wrote.

    Args:
        directory: Where the variants are.

    Returns:
        The table.

    Raises:
        ValueError: If there is none.
    """
    file = pathlib.Path(directory, FILE)
    if not file.exists():
        raise ValueError(
            f"There must be variants that were measured. Received: {str(directory)!r} "
            f"without {FILE}. Call `export_variants`."
        )
    rows = json.loads(file.read_text(encoding="utf-8"))
    for row in rows:
        row["latency_ms"] = {int(n): ms for n, ms in row["latency_ms"].items()}
    return [Variant(**row) for row in rows]
