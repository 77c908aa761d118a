"""Answers requests for one model, whichever way they come."""

import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from kmmft.serving.batcher import Batcher
from kmmft.serving.drift_monitor import DriftMonitor
from kmmft.serving.limits import Limits
from kmmft.serving.model_versions import ModelVersions
from kmmft.serving.request_arrays import request_arrays
from kmmft.serving.request_error import RequestError
from kmmft.serving.served_model import ServedModel
from kmmft.serving.server_metrics import ServerMetrics

logger = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]


class ModelServer:
    """What REST and gRPC share: versions, checks, batches, counts and drift.

    Args:
        base: Directory of the versions.
        name: Name of the model in addresses.
        limits: What a request may ask for.
        max_batch_size: Most rows that are answered together.
        workers: Batches that are computed at a time.
        drift: Arguments of `DriftMonitor`, such as `window`.

    Raises:
        ValueError: If there is no version to serve.
    """

    def __init__(
        self,
        base: str,
        name: str,
        limits: Limits | None = None,
        max_batch_size: int = 32,
        workers: int = 1,
        drift: Mapping[str, Any] | None = None,
    ):
        self.name = name
        self.limits = limits or Limits()
        self.metrics = ServerMetrics(name)
        self._drift_options = dict(drift or {}, on_window=self.metrics.drifted)
        self._monitors: dict[int, DriftMonitor] = {}
        self.batcher = Batcher(
            max_batch_size,
            workers,
            self.limits.waiting_requests,
            on_batch=self.metrics.batch,
        )
        self.versions = ModelVersions(base, on_load=self._loaded)

    def _loaded(self, model: ServedModel) -> None:
        self.metrics.loaded(model.version)
        self._monitors[model.version] = DriftMonitor.of_version(
            model.directory, **self._drift_options
        )

    def choose(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> ServedModel:
        """The model that a request is for.

        Raises:
            RequestError: If there is no such model or version.
        """
        if name != self.name:
            raise RequestError(
                f"There is no model {name!r}; there is {self.name!r}.", status=404
            )
        return self.versions.choose(version, label)

    async def predict(
        self, model: ServedModel, signature: str, values: Mapping[str | None, Any]
    ) -> Arrays:
        """Answers one request.

        Args:
            model: What `choose` returned.
            signature: Name of the signature.
            values: Nested lists or arrays by name. `None` names the only input.

        Returns:
            Arrays by name.

        Raises:
            RequestError: If the request is refused, or all of its rows are bad.
        """
        start, status, known = time.perf_counter(), 200, "unknown"
        try:
            specs = model.inputs(signature)
            known = signature
            inputs = request_arrays(specs, _named(values, specs), self.limits)
            outputs = await self.batcher.run(model, signature, inputs)
            self._check_rows(signature, outputs)
            self._monitors[model.version].observe(signature, inputs, outputs)
            return outputs
        except RequestError as error:
            status = error.status
            raise
        except Exception as error:
            status = 500
            logger.exception("A request to %s failed", signature)
            raise RequestError("The server failed; see its log.", 500) from error
        finally:
            self.metrics.answered(known, status, time.perf_counter() - start)

    def _check_rows(self, signature: str, outputs: Arrays) -> None:
        """Refuses a request of which nothing is left to answer."""
        errors = [error for error in outputs.get("error", ()) if error]
        if errors:
            self.metrics.bad_rows(signature, len(errors))
            if len(errors) == len(outputs["error"]):
                text = errors[0].decode("utf-8", "replace")
                raise RequestError(f"No row can be answered. Row 0: {text}")

    async def close(self) -> None:
        """Answers what waits, and stops."""
        self.versions.close()
        await self.batcher.close()


def _named(values: Mapping[str | None, Any], specs: Mapping) -> Mapping[str, Any]:
    if None not in values:
        return values
    if len(specs) > 1:
        raise RequestError(
            f"The inputs must be named, since there are several: {sorted(specs)}."
        )
    return {next(iter(specs)): values[None]}
