"""What a model forgot, and where in it: numbers, tables and a chart."""

import dataclasses
from collections.abc import Mapping

from kmmft.evaluation.drift_chart import drift_section
from kmmft.evaluation.report_parts import Table


@dataclasses.dataclass(frozen=True)
class Forgetting:
    """What `kmmft.evaluation.ForgettingMeter` found.

    Args:
        before: Scores of the probes at the start, by `<probe>/<score>`.
        after: The same scores now.
        layers: Relative drift of the weights and CKA of the outputs with those of the
            start, by layer. `None` where there is none: no weights, weights that were
            all zero, outputs that are not one row an example or do not vary.
        drift: Relative drift of all weights as one vector, or `None`.
        new_weights: Paths of weights that were not there at the start.

    Example:
        >>> forgetting = kmmft.evaluation.Forgetting(
        ...     before={"zero_shot/accuracy": 0.9},
        ...     after={"zero_shot/accuracy": 0.7},
        ...     layers={"block_0": (0.0, 1.0), "block_1": (0.2, 0.8)},
        ...     drift=0.1,
        ... )
        >>> forgetting.metrics()["forgetting/difference/zero_shot/accuracy"]
        -0.2
    """

    before: Mapping[str, float]
    after: Mapping[str, float]
    layers: Mapping[str, tuple[float | None, float | None]]
    drift: float | None = None
    new_weights: tuple[str, ...] = ()

    @property
    def difference(self) -> dict[str, float]:
        """Score now minus score at the start."""
        # What is left of the digits that no score has would look like a change.
        return {k: round(self.after[k] - v, 12) for k, v in self.before.items()}

    def metrics(self) -> dict[str, float]:
        """All numbers, flat, as a run's `metrics.json` holds them.

        Returns:
            dict of `forgetting/before/<probe>/<score>`, `.../after/...` and
            `.../difference/...`, `forgetting/weight_drift`, `forgetting/new_weights`,
            and `forgetting/drift/<layer>` and `forgetting/cka/<layer>`. What is not
            known is left out.
        """
        metrics = {}
        for time in ("before", "after", "difference"):
            for name, value in getattr(self, time).items():
                metrics[f"forgetting/{time}/{name}"] = value
        if self.drift is not None:
            metrics["forgetting/weight_drift"] = self.drift
        metrics["forgetting/new_weights"] = len(self.new_weights)
        for index, measure in enumerate(("drift", "cka")):
            for name, values in self.layers.items():
                if values[index] is not None:
                    metrics[f"forgetting/{measure}/{name}"] = values[index]
        return metrics

    def tables(self) -> list[Table]:
        """Tables for `write_report`: of the probes, if there are any, and the layers.

        Returns:
            One or two tables.
        """
        tables = []
        if self.before:
            rows = [
                [name.replace("/", " ").replace("_", " "), old, self.after[name], gain]
                for (name, old), gain in zip(
                    self.before.items(), self.difference.values(), strict=True
                )
            ]
            header = ["score", "before", "after", "difference"]
            tables.append(Table("Before and after fine-tuning", header, rows))
        note = "CKA is 1 where outputs are as they were, but for rotation and scale."
        if self.new_weights:
            note += f" {len(self.new_weights)} weights are new and count nowhere."
        rows = [[name, *values] for name, values in self.layers.items()]
        rows.append(["all weights", self.drift, None])
        header = ["layer", "relative drift of weights", "CKA with the start"]
        tables.append(Table("What moved, by layer", header, rows, note=note))
        return tables

    def section(self, heading: str = "How far each layer moved") -> str:
        """The chart of all layers, for `write_report`.

        Args:
            heading: Heading of the section.

        Returns:
            A `<section>` element.
        """
        return drift_section(self.layers, heading)
