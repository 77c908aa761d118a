"""The report's pictures: example images, learning curves, large confusion matrices.

Nothing here touches `matplotlib.pyplot`, so that a notebook's figures and backend
stay as they are.
"""

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from kmmft.evaluation import report_text

MAX_PIXELS = 320
MAX_INLINE_BYTES = 60_000
MAX_MATRIX = 512
_FORMATS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}
# Matplotlib draws with these colours, and the page's stylesheet stands in for them,
# so that one drawing serves light and dark.
_COLOURS = {
    "#010101": "var(--muted)",
    "#010102": "var(--line)",
    "#010103": "var(--train)",
    "#010104": "var(--accent)",
    "#010105": "var(--ink)",
    "#010106": "var(--surface)",
}
MUTED, LINE, TRAIN, ACCENT, INK, SURFACE = _COLOURS
BLUE, RED = (47, 111, 208), (208, 69, 47)


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def image_uri(image: np.ndarray | bytes) -> tuple[str, int]:
    """An image as an address that holds it, made small where it is large.

    Args:
        image: Encoded image, or pixels in [0, 255].

    Returns:
        A `data:` address, and the longest side of the image as it came, in pixels.

    Raises:
        ValueError: If the bytes or the shape are not those of an image.
    """
    if not isinstance(image, bytes):
        pixels = _as_pixels(np.asarray(image))
        return _encoded(pixels), max(pixels.shape[:2])
    try:
        pixels = tf.io.decode_image(image, channels=3, expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            "An example's image must be PNG, JPEG, GIF, BMP or WebP, or pixels. "
            f"Received: {len(image)} bytes that begin with {image[:12]!r}. "
            "Leave the example out, or give its pixels."
        ) from error
    kinds = [kind for magic, kind in _FORMATS.items() if image.startswith(magic)]
    if kinds and len(image) <= MAX_INLINE_BYTES:
        return data_uri(image, kinds[0]), max(pixels.shape[:2])
    return _encoded(pixels), max(pixels.shape[:2])


def _as_pixels(image: np.ndarray) -> np.ndarray:
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or not image.size:
        raise ValueError(
            "Pixels must be (height, width) or (height, width, 1, 3 or 4). Received: "
            f"shape {image.shape}. Pass one image, not a batch."
        )
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _encoded(pixels: np.ndarray | tf.Tensor) -> str:
    height, width, channels = pixels.shape
    if max(height, width) > MAX_PIXELS:
        size = (MAX_PIXELS, MAX_PIXELS)
        small = tf.image.resize(
            pixels, size, preserve_aspect_ratio=True, antialias=True
        )
        pixels = tf.cast(tf.clip_by_value(tf.round(small), 0, 255), tf.uint8)
    if channels != 4 and max(height, width) > 96:
        encoded = tf.io.encode_jpeg(pixels, quality=88)
        return data_uri(encoded.numpy(), "image/jpeg")
    return data_uri(tf.io.encode_png(pixels).numpy(), "image/png")


def learning_curve(
    name: str,
    train: Sequence[float] | None,
    validation: Sequence[float] | None,
) -> str:
    """Draws one quantity by epoch.

    Args:
        name: The quantity, such as "loss".
        train: Its value after each epoch on training data, or None.
        validation: The same on validation data, or None.

    Returns:
        An `<svg>` element that takes its colours from the page.
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    def draw(axes):
        _draw_line(axes, train, color=TRAIN, linewidth=1.6, linestyle=(0, (4, 2)))
        _draw_line(axes, validation, color=ACCENT, linewidth=2.2)
        shown = train if validation is None else validation
        _mark_best(axes, name, np.asarray(shown, float))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        if report_text.is_share(name):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("epoch", color=MUTED)
        axes.margins(x=0.04, y=0.12)
        axes.grid(axis="y", color=LINE, linewidth=0.8)

    return svg_figure(draw, size=(4.0, 2.5), salt=name)


def svg_figure(
    draw: Callable, size: tuple[float, float], salt: str, columns: int = 1
) -> str:
    """A drawing in the page's style.

    Args:
        draw: Draws on Matplotlib axes, in this file's colours; called with the axes
            of each column.
        size: Width and height in inches.
        salt: Keeps the ids of two drawings in one page apart, and repeatable.
        columns: Plots beside each other, which share the vertical axis.

    Returns:
        An `<svg>` element that takes its colours from the page.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.size": 10.5}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size, layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        plots = figure.subplots(1, columns, sharey=True, squeeze=False)[0]
        draw(*plots)
        for axes in plots:
            axes.set_facecolor("none")
            axes.tick_params(which="both", length=0, colors=MUTED, pad=6)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.spines["bottom"].set_color(LINE)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return _themed(drawn.getvalue())


def _draw_line(axes, values: Sequence[float] | None, **style) -> None:
    if values is None:
        return
    epochs = np.arange(1, len(values) + 1)
    marker = "o" if len(values) == 1 else None
    axes.plot(epochs, values, marker=marker, solid_capstyle="round", **style)


def _mark_best(axes, name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).any() or name.endswith("rate"):
        return
    values = np.where(np.isfinite(values), values, np.nan)
    higher = report_text.is_share(name)
    best = int(np.nanargmax(values) if higher else np.nanargmin(values))
    axes.plot(
        best + 1,
        values[best],
        "o",
        markersize=7,
        color=ACCENT,
        markeredgecolor=SURFACE,
        markeredgewidth=1.5,
        zorder=5,
    )
    right = best > (len(values) - 1) / 2
    axes.annotate(
        report_text.metric_value(name, float(values[best])),
        (best + 1, values[best]),
        xytext=(-9 if right else 9, -11 if higher else 11),
        textcoords="offset points",
        ha="right" if right else "left",
        va="center",
        color=INK,
        fontweight="bold",
        zorder=6,
    )


def _themed(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # The page says how wide a drawing is; text takes the page's typeface.
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # alike in every drawing
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg


def confusion_image(matrix: np.ndarray) -> str:
    """Draws a confusion matrix of many classes, one pixel a cell.

    Args:
        matrix: Counts `(classes, classes)`. More than 512 classes are pooled.

    Returns:
        A `data:` address of a see-through image: blue is right, red is wrong.
    """
    block = -(-len(matrix) // MAX_MATRIX)
    padding = -len(matrix) % block
    padded = np.pad(np.asarray(matrix, float), ((0, padding), (0, padding)))
    size = len(padded) // block
    pooled = padded.reshape(size, block, size, block).sum(axis=(1, 3))
    share = pooled / np.maximum(pooled.sum(axis=1, keepdims=True), 1)
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[..., :3] = RED
    pixels[np.arange(size), np.arange(size), :3] = BLUE
    # The root lifts rare confusions into sight.
    pixels[..., 3] = np.rint(255 * np.cbrt(share))
    return data_uri(tf.io.encode_png(pixels).numpy(), "image/png")


def curves(history: Mapping[str, Sequence[float]]) -> list[tuple[str, str, str]]:
    """Draws every quantity of a training history: loss first, rates last.

    Args:
        history: As in `keras.callbacks.History.history`: `loss`, `val_loss`, ...

    Returns:
        Name, `<svg>` element and a sentence of the last values, for each quantity.
    """
    names = dict.fromkeys(name.removeprefix("val_") for name in history)
    drawn = []
    for name in sorted(names, key=lambda n: (n.endswith("rate"), n != "loss")):
        train, validation = history.get(name), history.get(f"val_{name}")
        last = [
            f"{kind} {report_text.metric_value(name, float(values[-1]))}"
            for kind, values in (("training", train), ("validation", validation))
            if values is not None and len(values)
        ]
        if last:
            summary = f"{report_text.metric_label(name)} by epoch; last: "
            svg = learning_curve(name, train, validation)
            drawn.append((name, svg, summary + ", ".join(last)))
    return drawn
