"""Heat over pictures and coloured words, for the report."""

import html
from collections.abc import Sequence

import numpy as np

from kmmft.evaluation.explain import Explanation
from kmmft.evaluation.report_figures import image_uri

_FOR, _AGAINST = (214, 40, 40), (30, 90, 200)
_STRONGEST = 0.75  # of the colour over a picture or behind a word


def heat_overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lays red over what raises a score, and blue over what lowers it.

    Args:
        image: Pixels `(height, width, 3)` in [0, 255].
        heat: float array `(height, width)`.

    Returns:
        uint8 array `(height, width, 3)`.

    Example:
        >>> image = np.full((1, 2, 3), 100.0)
        >>> kmmft.evaluation.heat_overlay(image, np.array([[0.0, 1.0]]))[0].tolist()
        [[100, 100, 100], [186, 55, 55]]
    """
    strength = _scaled(heat)[..., np.newaxis]
    colors = np.where(strength > 0, np.array(_FOR), np.array(_AGAINST))
    alpha = _STRONGEST * np.abs(strength)
    return np.rint((1 - alpha) * image + alpha * colors).astype(np.uint8)


def explanation_section(
    explanations: Sequence[Explanation], heading: str = "What the answers are made of"
) -> str:
    """Shows explanations as pictures under heat and coloured words.

    Args:
        explanations: From `kmmft.evaluation.explain`.
        heading: Heading of the section.

    Returns:
        A `<section>` element for `write_report`.

    Raises:
        ValueError: If there is no explanation.
    """
    if not explanations:
        raise ValueError(
            "A section needs explanations. Received: none. Make some with "
            "kmmft.evaluation.explain"
        )
    shown = "".join(_figure(explanation) for explanation in explanations)
    return (
        f"<section><h2>{html.escape(heading)}</h2>"
        '<p class="lead">Red raises the score, blue lowers it.</p>'
        '<div class="panel" style="display:flex;flex-wrap:wrap;gap:24px">'
        f"{shown}</div></section>"
    )


def _figure(explanation: Explanation) -> str:
    method = explanation.method.replace("_", " ")
    caption = f"{explanation.target}: {explanation.score:.2f} ({method})"
    parts = []
    for name, heat in explanation.heat.items():
        image = explanation.images[name]
        for pixels, what in ((image, name), (heat_overlay(image, heat), "its weights")):
            uri, _ = image_uri(pixels)
            parts.append(
                f'<img src="{uri}" alt="{html.escape(what)}" width="144" '
                'style="image-rendering:pixelated">'
            )
    for words in explanation.words.values():
        parts.append(f"<p>{_colored(words)}</p>")
    return (
        '<figure style="margin:0;max-width:300px">'
        f"{''.join(parts)}<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _colored(words: Sequence[tuple[str, float]]) -> str:
    strengths = _scaled(np.array([weight for _, weight in words], float))
    spans = []
    for (word, weight), strength in zip(words, strengths, strict=True):
        color = ",".join(map(str, _FOR if strength > 0 else _AGAINST))
        alpha = _STRONGEST * abs(strength)
        spans.append(
            f'<span style="background:rgba({color},{alpha:.2f});padding:0 2px" '
            f'title="{weight:.3g}">{html.escape(word)}</span>'
        )
    return " ".join(spans)


def _scaled(weights: np.ndarray) -> np.ndarray:
    return weights / max(np.abs(weights).max(initial=0.0), 1e-12)
