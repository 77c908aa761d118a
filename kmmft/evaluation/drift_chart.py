"""How far each layer went from its start, as a chart for the report."""

import html
from collections.abc import Mapping, Sequence

from kmmft.evaluation.report_figures import ACCENT, LINE, MUTED, TRAIN, svg_figure


def drift_section(
    layers: Mapping[str, tuple[float | None, float | None]], heading: str
) -> str:
    """Draws each layer's drift and similarity to its start, the first layer on top.

    Args:
        layers: Relative drift of the weights and CKA of the outputs by layer, each
            `None` where it is not known.
        heading: Heading of the section.

    Returns:
        A `<section>` element for `write_report`.

    Raises:
        ValueError: If there is no layer.

    Example:
        >>> layers = {"block_0": (0.01, 0.99), "block_1": (0.2, 0.8)}
        >>> kmmft.evaluation.drift_section(layers, "What moved")[:8]
        '<section'
    """
    if not layers:
        raise ValueError(
            "A chart needs layers. Received: none. Give drift and CKA by layer, such "
            "as of the result of kmmft.evaluation.ForgettingMeter."
        )
    lead = _lead(layers)
    return (
        f'<section><h2>{html.escape(heading)}</h2><p class="lead">{html.escape(lead)}'
        f'</p><div class="panel" role="img" aria-label="{html.escape(lead)}">'
        f"{_draw(layers)}</div></section>"
    )


def _lead(layers: Mapping) -> str:
    drifts = {name: drift for name, (drift, _) in layers.items() if drift is not None}
    ckas = {name: cka for name, (_, cka) in layers.items() if cka is not None}
    sentences = ["How far the weights and outputs of each layer are from their start."]
    if drifts:
        name = max(drifts, key=drifts.get)
        sentences.append(f"The weights of {name} moved furthest: {drifts[name]:.2%}.")
    if ckas:
        name = min(ckas, key=ckas.get)
        sentences.append(f"The outputs of {name} changed most: CKA {ckas[name]:.3f}.")
    return " ".join(sentences)


def short_names(names: Sequence[str]) -> list[str]:
    """Paths without their middle, where they stay apart without it."""
    short = [
        f"{name.split('/')[0]}/.../{name.split('/')[-1]}"
        if name.count("/") > 1
        else name
        for name in names
    ]
    return [
        own if short.count(own) == 1 else name
        for own, name in zip(short, names, strict=True)
    ]


def _draw(layers: Mapping) -> str:
    from matplotlib.ticker import PercentFormatter

    names = list(layers)

    def draw(drift, cka):
        _draw_bars(drift, [values[0] for values in layers.values()], TRAIN)
        _draw_bars(cka, [values[1] for values in layers.values()], ACCENT)
        drift.set_yticks(range(len(names)), short_names(names))
        drift.set_ylim(len(names) - 0.4, -0.6)
        drift.xaxis.set_major_formatter(PercentFormatter(1.0))
        drift.set_xlim(left=0)
        cka.set_xlim(0, 1.16)
        cka.set_xticks([0, 0.25, 0.5, 0.75, 1])
        drift.set_xlabel("relative drift of weights", color=MUTED)
        cka.set_xlabel("CKA of outputs with their start", color=MUTED)

    size = (9.0, 1.1 + 0.27 * len(names))
    return svg_figure(draw, size, salt=names[0], columns=2)


def _draw_bars(axes, values: Sequence[float | None], color: str) -> None:
    axes.barh(range(len(values)), [value or 0.0 for value in values], 0.62, color=color)
    for row, value in enumerate(values):
        axes.annotate(
            "not known" if value is None else f"{value:.3g}",
            (max(value or 0.0, 0.0), row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=MUTED,
        )
    axes.margins(x=0.16)
    axes.grid(axis="x", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
