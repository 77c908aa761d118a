"""What a served model is, for whoever meets it: the card beside it."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kmmft.data import RecordSource
from kmmft.export.bundle.licences import licence_of
from kmmft.export.bundle.signature_table import Table, describe
from kmmft.export.bundle.templates import render
from kmmft.training import RunDirectory

_FORGETTING = "forgetting/"


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What is to be said of a model beside what its export measures itself.

    Args:
        title: What the model does, in a few words.
        summary: A paragraph.
        data: What it was trained on, by what is told: name, records of each split.
        plan: How it was fine-tuned, by what is told: encoders, rates, epochs.
        plan_table: The table of a `kmmft.finetuning.Plan`, if there was one.
        metrics: Final numbers, flat, as in `metrics.json`. `<metric>_low` and
            `<metric>_high` are ends of an interval, `<metric>_std` a deviation;
            `forgetting/...` has a section of its own.
        limits: What it should not be used for, or cannot do; a sentence each.
        base_weights: Where the encoders began, by encoder.
        licences: Licences of these weights, by encoder.
        licence: The licence of the model itself.

    Example:
        >>> card = kmmft.export.ModelCard("Answers questions about shapes")
        >>> card.metric_rows({"test/accuracy": 0.9, "test/accuracy_low": 0.8,
        ...     "test/accuracy_high": 0.95})
        [('test/accuracy', '0.9', '0.8 to 0.95')]
    """

    title: str
    summary: str = ""
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    plan: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    plan_table: str = ""
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    limits: Sequence[str] = ()
    base_weights: Mapping[str, str] = dataclasses.field(default_factory=dict)
    licences: Mapping[str, str] = dataclasses.field(default_factory=dict)
    licence: str = "not chosen yet: that of the data and the base weights binds"

    @classmethod
    def from_run(
        cls,
        run: RunDirectory,
        title: str,
        source: RecordSource | None = None,
        metrics: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> "ModelCard":
        """From a recipe's run.

        Args:
            run: Its directory; its configuration tells the plan and the encoders.
            title: As in the constructor.
            source: The data.
            metrics: As in the constructor; default: those of the finished run.
            **kwargs: Further arguments of `ModelCard`.
        """
        config = run.config
        encoders = {
            kind: str(config[f"{kind}_encoder"])
            for kind in ("image", "text")
            if config.get(f"{kind}_encoder")
        }
        data = {}
        if source is not None:
            data["records"] = source.path
            for name, split in source.splits.items():
                data[f"{name} records"] = f"{split.num_records:,}"
        facts = {
            "data": data,
            "plan": {name: value for name, value in config.items() if value != ""},
            "metrics": run.metrics() if metrics is None else metrics,
            "base_weights": encoders,
            "licences": {name: licence_of(x, name) for name, x in encoders.items()},
        }
        facts["metrics"] = facts["metrics"] or {}
        return cls(title, **{**facts, **kwargs})

    def metric_rows(self, metrics: Mapping[str, float]) -> list[tuple[str, str, str]]:
        """Rows of a table: name, value, and its spread where that is known."""
        rows = []
        for name, value in metrics.items():
            base, kind = _without_bound(name)
            if kind and base in metrics:
                continue
            rows.append((name, f"{value:.4g}", _spread(name, metrics)))
        return rows

    def render(self, measured: "Measured") -> str:
        """The card as Markdown.

        Args:
            measured: What the export found out.
        """
        forgetting = {
            name.removeprefix(_FORGETTING): value
            for name, value in self.metrics.items()
            if name.startswith(_FORGETTING)
        }
        others = {
            name: value
            for name, value in self.metrics.items()
            if not name.startswith(_FORGETTING)
        }
        return render(
            "model_card.md.jinja",
            card=self,
            measured=measured,
            metric_rows=self.metric_rows(others),
            forgetting_rows=self.metric_rows(forgetting),
            limits=[*self.limits, *measured.limits],
            describe=describe,
            cell=_cell,
        )


@dataclasses.dataclass(frozen=True)
class Measured:
    """What an export found out about a model.

    Args:
        name: Its name on the server.
        version: Number of the version.
        parameters: Number of weights.
        size_mb: Size of the artefact in MiB.
        weights_mb: Of which weights.
        latency: Median milliseconds by batch size.
        hardware: On what they were taken.
        signatures: As `signature_table` gives them.
        parity: Content of `parity.json`.
        limits: What the served graph itself refuses or leaves out.
    """

    name: str
    version: int
    parameters: int
    size_mb: float
    weights_mb: float
    latency: Mapping[int, float]
    hardware: str
    signatures: Table
    parity: Mapping[str, Any]
    limits: Sequence[str]


def _without_bound(name: str) -> tuple[str, str]:
    """A bound's metric and which bound: `a/x_low/b` is one of `a/x/b`."""
    found = re.fullmatch(r"(.+?)_(low|high|std)(/.*)?", name)
    if not found:
        return name, ""
    return found.group(1) + (found.group(3) or ""), found.group(2)


def _spread(name: str, metrics: Mapping[str, float]) -> str:
    bounds = {}
    for other, value in metrics.items():
        base, kind = _without_bound(other)
        if kind and base == name:
            bounds[kind] = f"{value:.4g}"
    if "std" in bounds:
        return f"± {bounds['std']}"
    if {"low", "high"} <= bounds.keys():
        return f"{bounds['low']} to {bounds['high']}"
    return ""


def _cell(value: Any) -> str:
    """Text that breaks no table."""
    return str(value).replace("|", "\\|").replace("\n", " ")
