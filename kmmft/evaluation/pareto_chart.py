"""What a method costs against what it is worth, as a chart for the report."""

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


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[bool]:
    """Which points no other one beats: none is as cheap and as good, and better in one.

    Args:
        costs: Lower is better.
        scores: Higher is better.

    Returns:
        One bool a point.

    Raises:
        ValueError: If the lengths differ.

    Example:
        >>> kmmft.evaluation.pareto_front([1, 2, 3], [0.5, 0.8, 0.7])
        [True, True, False]
    """
    points = list(zip(costs, scores, strict=True))
    return [
        not any(
            other_cost <= cost
            and other_score >= score
            and (other_cost, other_score) != (cost, score)
            for other_cost, other_score in points
        )
        for cost, score in points
    ]


def pareto_section(
    points: Mapping[str, tuple[float, float, float]],
    cost_label: str,
    score_label: str,
    heading: str,
) -> str:
    """Draws score against cost, with the points that nothing beats joined by a line.

    Args:
        points: Cost, score and the score's deviation (NaN for unknown) by name.
        cost_label: What the cost is, with its unit. Costs over a factor of 30 are
            shown on a logarithmic axis.
        score_label: What the score is. It is shown in percent.
        heading: Heading of the section.

    Returns:
        A `<section>` element for `write_report`.

    Example:
        >>> points = {"full": (3e6, 0.8, 0.01), "probe": (1e4, 0.7, 0.02)}
        >>> kmmft.evaluation.pareto_section(points, "weights", "accuracy", "A")[:8]
        '<section'
    """
    front = pareto_front(
        [cost for cost, _, _ in points.values()],
        [score for _, score, _ in points.values()],
    )
    best = [name for name, on_front in zip(points, front, strict=True) if on_front]
    lead = f"Nothing is both cheaper and better than: {', '.join(best)}."
    label = html.escape(f"{score_label} against {cost_label}. {lead}")
    return (
        f'<section><h2>{html.escape(heading)}</h2><p class="lead">{html.escape(lead)} '
        "Bars are one standard deviation.</p>"
        f'<div class="panel" role="img" aria-label="{label}">'
        f"{_draw(points, front, cost_label, score_label)}</div></section>"
    )


def _draw(points: Mapping, front: list[bool], cost_label: str, score_label: str) -> str:
    from matplotlib.ticker import PercentFormatter

    def draw(axes):
        costs = [cost for cost, _, _ in points.values()]
        if min(costs) > 0 and max(costs) > 30 * min(costs):
            axes.set_xscale("log")
        _draw_points(axes, points, front)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel(cost_label, color=MUTED)
        axes.set_ylabel(score_label, color=MUTED)
        axes.margins(x=0.14, y=0.12)
        axes.grid(axis="y", color=LINE, linewidth=0.8)

    return svg_figure(draw, size=(8.0, 4.2), salt=cost_label)


def _draw_points(axes, points: Mapping, front: list[bool]) -> None:
    on_front = sorted(
        values for values, best in zip(points.values(), front, strict=True) if best
    )
    axes.plot(
        [cost for cost, _, _ in on_front],
        [score for _, score, _ in on_front],
        color=ACCENT,
        linewidth=1.6,
    )
    # Names of neighbours go to different sides, so that they do not cover each other.
    order = sorted(points, key=lambda name: points[name][:2])
    for name, best in zip(points, front, strict=True):
        cost, score, spread = points[name]
        color = ACCENT if best else TRAIN
        if spread == spread:
            axes.errorbar(cost, score, spread, color=color, linewidth=1.2)
        axes.plot(cost, score, "o", markersize=7, color=color, markeredgecolor=SURFACE)
        left = order.index(name) % 2 == 1
        axes.annotate(
            name,
            (cost, score),
            xytext=(-8 if left else 8, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            color=INK,
            fontweight="bold" if best else "normal",
        )
