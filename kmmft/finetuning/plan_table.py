"""Tells what a plan does to a model, in numbers and as a table."""

import math
from collections.abc import Sequence

from kmmft.finetuning.planned_weights import PlannedWeight

COLUMNS = (
    "rule",
    "weights",
    "parameters",
    "trained",
    "from",
    "rate",
    "pull",
    "adapter",
)


def counts(weights: Sequence[PlannedWeight]) -> dict[str, int]:
    """See `AppliedPlan.counts`."""
    total = _parameters(weights)
    trained = _parameters([weight for weight in weights if weight.trains])
    return {
        "parameters": total,
        "trained_parameters": trained,
        "frozen_parameters": total - trained,
        "added_parameters": _parameters([w for w in weights if w.is_added]),
    }


def summary(weights: Sequence[PlannedWeight]) -> str:
    """See `AppliedPlan.summary`."""
    rules = list({id(weight.rule): weight.rule for weight in weights}.values())
    groups = [[weight for weight in weights if weight.rule is rule] for rule in rules]
    rows = [COLUMNS, *(_row(group) for group in groups), _total(weights)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            # Numbers end, words begin, under each other.
            cell.rjust(width) if 0 < index < 4 else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _parameters(weights: Sequence[PlannedWeight]) -> int:
    return sum(math.prod(weight.variable.shape) for weight in weights)


def _row(weights: Sequence[PlannedWeight]) -> tuple[str, ...]:
    rule = weights[0].rule
    trained = [weight for weight in weights if weight.trains]
    return (
        rule.pattern,
        str(len(weights)),
        f"{_parameters(weights):,}",
        f"{_parameters(trained):,}",
        _from(trained),
        _rate(trained),
        _pull(rule) if trained else "-",
        "-" if rule.adapter is None else repr(rule.adapter),
    )


def _total(weights: Sequence[PlannedWeight]) -> tuple[str, ...]:
    number = counts(weights)
    share = number["trained_parameters"] / max(number["parameters"], 1)
    return (
        "all",
        str(len(weights)),
        f"{number['parameters']:,}",
        f"{number['trained_parameters']:,}",
        f"({share:.1%})",
        *[""] * (len(COLUMNS) - 5),
    )


def _from(trained: Sequence[PlannedWeight]) -> str:
    if not trained:
        return "never"
    unit = "step" if any(weight.from_step for weight in trained) else "epoch"
    first = [getattr(weight, f"from_{unit}") for weight in trained]
    return f"{unit} {_range(first)}"


def _rate(trained: Sequence[PlannedWeight]) -> str:
    if not trained:
        return "-"
    text = f"x{_range([weight.learning_rate_scale for weight in trained])}"
    own = trained[0].rule.learning_rate
    if own is None:
        return text
    return f"{type(own).__name__ if callable(own) else own} {text}"


def _range(numbers: Sequence[float]) -> str:
    low, high = f"{min(numbers):.3g}", f"{max(numbers):.3g}"
    return low if low == high else f"{low}-{high}"


def _pull(rule) -> str:
    l2_sp = f"l2_sp {rule.l2_sp:g}"
    if rule.l2_sp_decoupled:
        l2_sp += " decoupled"
    if rule.fisher is not None:
        l2_sp += " x fisher"
    parts = [
        f"decay {rule.weight_decay:g}" if rule.weight_decay is not None else "",
        f"l2 {rule.l2:g}" if rule.l2 else "",
        l2_sp if rule.l2_sp else "",
    ]
    return ", ".join(filter(None, parts)) or "-"
