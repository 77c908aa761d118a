"""Watches whether requests still look like the training data."""

import json
import logging
import pathlib
import threading
import urllib.request
from collections.abc import Callable, Mapping

import numpy as np

from kmmft.serving.drift_statistics import population_stability, row_statistics

logger = logging.getLogger(__name__)

FILE = "drift_reference.json"


class DriftMonitor:
    """Compares windows of live requests with what was exported of the training data.

    Args:
        references: By signature and statistic, what
            `kmmft.serving.drift_statistics.reference_of` returned.
        window: Rows of a signature that are compared at a time.
        threshold: Index above which a statistic has drifted.
        on_window: Called after each window with the index of each statistic (under
            `signature/statistic`) and whether one is above the threshold.
        webhook: Address that gets a POST with JSON when that is so; empty for none.
    """

    def __init__(
        self,
        references: Mapping[str, Mapping[str, Mapping]],
        window: int = 500,
        threshold: float = 0.25,
        on_window: Callable[[dict[str, float], bool], None] = lambda psi, alarm: None,
        webhook: str = "",
    ):
        if window < 1 or threshold <= 0:
            raise ValueError(
                "`window` and `threshold` must be positive. Received: "
                f"window={window}, threshold={threshold}."
            )
        self.references = references
        self.window = window
        self.threshold = threshold
        self.webhook = webhook
        self._on_window = on_window
        self._seen: dict[str, list[dict[str, np.ndarray]]] = {}

    @classmethod
    def of_version(cls, directory: pathlib.Path, **options) -> "DriftMonitor":
        """A monitor with the references of an exported version, if it has any."""
        path = directory / "assets.extra" / FILE
        references = json.loads(path.read_text()) if path.exists() else {}
        return cls(references, **options)

    def observe(self, signature: str, inputs: Mapping, outputs: Mapping) -> None:
        """Takes note of an answered request."""
        references = self.references.get(signature)
        if not references:
            return
        seen = self._seen.setdefault(signature, [])
        seen.append(row_statistics(inputs, outputs))
        if sum(len(next(iter(part.values()), ())) for part in seen) >= self.window:
            self._seen[signature] = []
            self._compare(signature, references, seen)

    def _compare(self, signature, references, seen) -> None:
        psi = {}
        for name, reference in references.items():
            values = [part[name] for part in seen if name in part]
            if sum(map(len, values)):
                index = population_stability(np.concatenate(values), reference)
                psi[f"{signature}/{name}"] = index
        drifted = {name: value for name, value in psi.items() if value > self.threshold}
        self._on_window(psi, bool(drifted))
        if drifted:
            worst = max(drifted, key=drifted.get)
            logger.warning("Requests have drifted: %s %.2f", worst, drifted[worst])
            if self.webhook:
                # The visitors must not wait for it.
                threading.Thread(
                    target=self._post, args=(signature, drifted), daemon=True
                ).start()

    def _post(self, signature: str, drifted: dict[str, float]) -> None:
        body = json.dumps({"signature": signature, "drifted": drifted}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.webhook, body, headers)
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except OSError as error:
            logger.error("The webhook %s cannot be reached: %s", self.webhook, error)
