"""The table of variants, and the best of them within a budget."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import kmmft
from kmmft.evaluation import Table
from kmmft.export import Variant


class Budget(Protocol):
    """What a config says of the variant that is to be chosen; 0 for any."""

    max_latency_ms: float
    max_size_mb: float


def budget_table(
    config: Budget,
    variants: Sequence[Variant],
    title: str,
    scores: Mapping[str, Sequence[float | None]],
) -> Table:
    """Size, latency and scores of each variant; stressed is the chosen one.

    `scores` has a column of values for each name, one a variant.
    """
    try:
        chosen = kmmft.export.choose_variant(
            variants, config.max_latency_ms or None, config.max_size_mb or None
        )
        number = variants.index(chosen)
        note = f"Chosen within the budget: {chosen.name}, in {chosen.directory}."
    except ValueError as error:  # the run is worth its report all the same
        number, note = None, str(error)
    measured = zip(variants, *scores.values(), strict=True)
    return Table(
        title,
        ["variant", "MB", "ms, 1 row", "ms, 8", "ms, 32", *scores, "refused"],
        [
            [v.name, v.size_mb, *map(v.latency_ms.get, (1, 8, 32)), *found, v.refused]
            for v, *found in measured
        ],
        highlight=number,
        note=note,
    )
