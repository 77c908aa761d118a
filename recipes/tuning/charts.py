"""How the search went, for the report."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

from kmmft.evaluation.report_figures import ACCENT, LINE, MUTED, TRAIN, svg_figure

from .space import Range, Space


def search_section(
    scores: Sequence[float],
    values: Sequence[Mapping],
    space: Space,
    metric: str,
    mode: str,
) -> str:
    """Draws the best score by trial, and the scores by each setting.

    Args:
        scores: Score of each trial, in their order.
        values: What each tried.
        space: What was searched.
        metric: Name of the score.
        mode: `"max"` or `"min"`.

    Returns:
        A `<section>` element for `write_report`.
    """
    panels = [_panel("by trial", lambda axes: _by_trial(axes, scores, mode))]
    panels += [
        _panel(
            f"by {name}",
            lambda axes, name=name: _by_setting(axes, name, scores, values, space),
        )
        for name in space
    ]
    return f"<section><h2>{html.escape(metric)}</h2>{''.join(panels)}</section>"


def _panel(label: str, draw) -> str:
    figure = svg_figure(draw, size=(8.0, 3.0), salt=label)
    label = html.escape(label)
    return (
        f'<p class="lead">{label}</p>'
        f'<div class="panel" role="img" aria-label="{label}">{figure}</div>'
    )


def _by_trial(axes, scores: Sequence[float], mode: str) -> None:
    best = (np.maximum if mode == "max" else np.minimum).accumulate(scores)
    numbers = np.arange(1, len(scores) + 1)
    axes.plot(numbers, scores, "o", color=TRAIN, markersize=5)
    axes.step(numbers, best, where="post", color=ACCENT, linewidth=1.6)
    axes.set_xlabel("trial", color=MUTED)
    axes.grid(axis="y", color=LINE, linewidth=0.8)


def _by_setting(axes, name: str, scores, values, space: Space) -> None:
    span = space[name]
    tried = [row[name] for row in values]
    if isinstance(span, Range):
        axes.set_xscale("log" if span.log else "linear")
    else:
        axes.set_xticks(range(len(span)), [str(choice) for choice in span])
        tried = [span.index(value) for value in tried]
    axes.plot(tried, scores, "o", color=TRAIN, markersize=5)
    axes.set_xlabel(name, color=MUTED)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
