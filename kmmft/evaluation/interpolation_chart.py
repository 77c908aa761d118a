"""What a model gains and keeps between two sets of weights, for the report."""

import html
from collections.abc import Mapping, Sequence

from kmmft.evaluation.report_figures import (
    ACCENT,
    INK,
    LINE,
    MUTED,
    SURFACE,
    TRAIN,
    svg_figure,
)


def interpolation_section(
    rows: Sequence[Mapping[str, float]], target: str, kept: str, heading: str
) -> str:
    """Draws one accuracy against another, along the way from the first weights.

    Args:
        rows: What `kmmft.finetuning.wise_ft` returns.
        target: Name of the measure on the new task: to the right.
        kept: Name of the measure on what was known before: upwards. Both are shown in
            percent.
        heading: Heading of the section.

    Returns:
        A `<section>` element for `write_report`.

    Raises:
        ValueError: If there are no rows, or they lack a measure.

    Example:
        >>> rows = [{"alpha": 0.0, "target": 0.5, "kept": 0.9, "chosen": 0.0},
        ...         {"alpha": 1.0, "target": 0.8, "kept": 0.6, "chosen": 1.0}]
        >>> kmmft.evaluation.interpolation_section(rows, "target", "kept", "Both")[:8]
        '<section'

    References:
        - [Wortsman et al., 2022](https://arxiv.org/abs/2109.01903), figure 1.
    """
    missing = {name for row in rows for name in (target, kept) if name not in row}
    if not rows or missing:
        raise ValueError(
            f"Each row needs the measures {target!r} and {kept!r}. Received: "
            f"{f'rows without {sorted(missing)}' if missing else 'no row'}. Give the "
            "rows of kmmft.finetuning.wise_ft."
        )
    lead = _lead(rows, target, kept)
    return (
        f'<section><h2>{html.escape(heading)}</h2><p class="lead">{html.escape(lead)} '
        "Each point is a mean of the weights before and after fine-tuning.</p>"
        f'<div class="panel" role="img" aria-label="{html.escape(lead)}">'
        f"{_draw(rows, target, kept)}</div></section>"
    )


def _lead(rows: Sequence[Mapping], target: str, kept: str) -> str:
    chosen = next((row for row in rows if row.get("chosen")), rows[-1])
    return " ".join(
        f"{_words(name).capitalize()} is {chosen[name]:.1%} at alpha "
        f"{chosen['alpha']:g}, {rows[0][name]:.1%} at {rows[0]['alpha']:g} and "
        f"{rows[-1][name]:.1%} at {rows[-1]['alpha']:g}."
        for name in (target, kept)
    )


def _words(name: str) -> str:
    return name.replace("/", " ").replace("_", " ")


def _draw(rows: Sequence[Mapping], target: str, kept: str) -> str:
    from matplotlib.ticker import PercentFormatter

    def draw(axes):
        _draw_points(axes, rows, target, kept)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel(_words(target), color=MUTED)
        axes.set_ylabel(_words(kept), color=MUTED)
        axes.margins(x=0.14, y=0.12)
        axes.grid(color=LINE, linewidth=0.8)

    return svg_figure(draw, size=(8.0, 4.2), salt=target)


def _draw_points(axes, rows: Sequence[Mapping], target: str, kept: str) -> None:
    axes.plot(
        [row[target] for row in rows],
        [row[kept] for row in rows],
        "o-",
        color=TRAIN,
        linewidth=1.6,
        markersize=5,
    )
    for row in rows:
        chosen = bool(row.get("chosen"))
        if not chosen and row is not rows[0] and row is not rows[-1]:
            continue
        color = ACCENT if chosen else TRAIN
        point = (row[target], row[kept])
        axes.plot(*point, "o", markersize=8, color=color, markeredgecolor=SURFACE)
        axes.annotate(
            f"alpha {row['alpha']:g}",
            point,
            xytext=(9, 9),
            textcoords="offset points",
            color=INK,
            fontweight="bold" if chosen else "normal",
        )
