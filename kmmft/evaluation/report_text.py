"""Numbers as people read them, by the name of the metric."""

import math
import numbers
import re
from collections.abc import Mapping, Sequence
from typing import Any

_SHARE = re.compile(r"(^|[/_])(accuracy|f1|recall|precision)($|[/_])")
_BOUND = re.compile(r"(^|/)accuracy_(low|high)($|/)")


def is_share(name: str) -> bool:
    """Whether a metric of this name lies in [0, 1] and is better when higher."""
    return bool(_SHARE.search(name))


def is_bound(name: str) -> bool:
    """Whether a metric of this name is an end of an accuracy's interval."""
    return bool(_BOUND.search(name))


def percent(value: float) -> str:
    """A share as a percentage with one decimal, or two where it is nearly all."""
    if not 0.99 < value < 1:
        return f"{100 * value:.1f} %"
    # 99.996 % must not be shown as a perfect 100.00 %.
    return f"{min(100 * value, 99.99):.2f} %"


def duration(seconds: float) -> str:
    """Seconds in the two largest fitting units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def metric_value(name: str, value: Any) -> str:
    """One metric's value, in the unit that its name tells."""
    if not isinstance(value, numbers.Real) or not math.isfinite(value):
        return str(value)
    if is_share(name) and 0 <= value <= 1:
        return percent(value)
    if name.endswith("seconds"):
        return duration(value)
    if name.endswith("_mb"):
        return f"{value / 1024:.2f} GB" if value >= 1024 else f"{value:.0f} MB"
    return plain(value)


def plain(value: Any) -> str:
    """A value of a table or a configuration."""
    if value is None:
        return "–"  # noqa: RUF001
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    if isinstance(value, numbers.Real):
        digits = 3 if abs(value) >= 1000 else 4
        text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.{digits}g}"
        return text if abs(value) < 1000 or abs(value) >= 10_000 else f"{value:,.1f}"
    return str(value)


def metric_label(name: str) -> str:
    """A metric's name in words."""
    if name.endswith("train/seconds"):
        return "Training time"
    words = name.replace("/", " ").replace("_", " ").removesuffix(" mb")
    words = re.sub(r"\brecall at (\d+)", r"recall@\1", words)
    words = re.sub(r"\bf1\b", "F1", words)
    return words[:1].upper() + words[1:]


def interval(name: str, metrics: Mapping[str, float]) -> str:
    """The interval of an accuracy, where its ends are among the metrics."""
    ends = [
        metrics.get(re.sub(r"(^|/)accuracy($|/)", rf"\1accuracy_{end}\2", name))
        for end in ("low", "high")
    ]
    if is_bound(name) or None in ends or ends[0] == metrics.get(name) == ends[1]:
        return ""
    low, high = (percent(end).removesuffix(" %") for end in ends)
    return f"{low} to {high} %"


def headline_names(metrics: Mapping[str, float]) -> list[str]:
    """The metrics to show first: quality, then time, then memory."""
    quality = [
        name
        for name in metrics
        if is_share(name) and not is_bound(name) and "accuracy/" not in name
    ]
    # The model's own before those of its floors. The order stays otherwise.
    quality.sort(key=lambda name: not name.startswith("test/"))
    if not quality:
        quality = [name for name in metrics if name.endswith("loss")]
    cost = [name for name in metrics if name.endswith("train/seconds")]
    cost += [name for name in metrics if name.endswith("peak_memory_mb")]
    return quality[:4] + cost[:2]


def flatten(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested configuration as dotted names and values."""
    flat = []
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat += flatten(value, f"{name}.")
        elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
            flat.append((name, ", ".join(str(item) for item in value) or "–"))  # noqa: RUF001
        else:
            # As it was set: 0.0003 and 10000, not rounded and grouped.
            flat.append((name, "–" if value is None else str(value)))  # noqa: RUF001
    return flat
