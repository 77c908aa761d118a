"""What a server counts, for Prometheus."""

import prometheus_client as prometheus


class ServerMetrics:
    """Latency, batch sizes, errors, versions and drift of one server.

    Each server has a registry of its own, so that several can live in a process.

    Args:
        model: Name of the model, a label of all of them.
    """

    def __init__(self, model: str):
        self.registry = prometheus.CollectorRegistry()
        self._model = model
        known = {"registry": self.registry}
        self._requests = prometheus.Counter(
            "kmmft_requests", "Answered requests.", ["model", "signature", "status"],
            **known,
        )  # fmt: skip
        self._latency = prometheus.Histogram(
            "kmmft_latency_seconds",
            "From a request's arrival to its answer.",
            ["model", "signature"],
            buckets=[0.002 * 2**k for k in range(13)],
            **known,
        )
        self._batches = prometheus.Histogram(
            "kmmft_batch_rows",
            "Rows of the batches that the model computed.",
            ["model"],
            buckets=[2**k for k in range(10)],
            **known,
        )
        self._bad_rows = prometheus.Counter(
            "kmmft_bad_rows",
            "Rows whose image could not be read.",
            ["model", "signature"],
            **known,
        )
        self._versions = prometheus.Gauge(
            "kmmft_version_loaded_timestamp_seconds",
            "When a version was loaded.",
            ["model", "version"],
            **known,
        )
        self._drift = prometheus.Gauge(
            "kmmft_drift_psi",
            "Population stability index of the last window against training.",
            ["model", "statistic"],
            **known,
        )
        self._alarms = prometheus.Counter(
            "kmmft_drift_alarms", "Windows that drifted.", ["model"], **known
        )

    def answered(self, signature: str, status: int, seconds: float) -> None:
        self._requests.labels(self._model, signature, str(status)).inc()
        self._latency.labels(self._model, signature).observe(seconds)

    def batch(self, rows: int) -> None:
        self._batches.labels(self._model).observe(rows)

    def bad_rows(self, signature: str, count: int) -> None:
        self._bad_rows.labels(self._model, signature).inc(count)

    def loaded(self, version: int) -> None:
        self._versions.labels(self._model, str(version)).set_to_current_time()

    def drifted(self, psi: dict[str, float], alarm: bool) -> None:
        for statistic, value in psi.items():
            self._drift.labels(self._model, statistic).set(value)
        if alarm:
            self._alarms.labels(self._model).inc()

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return prometheus.generate_latest(self.registry)
