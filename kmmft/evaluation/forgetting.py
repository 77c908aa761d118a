"""Measures what a model forgets while it is fine-tuned."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kmmft.evaluation.forgetting_result import Forgetting
from kmmft.evaluation.forgetting_start import (
    ForgettingStart,
    copied,
    fingerprint,
    learnt_weights,
    read_start,
)
from kmmft.evaluation.layer_similarity import (
    linear_cka,
    model_batch,
    pooled_outputs,
)
from kmmft.evaluation.measured_layers import measured_layers, part_of
from kmmft.finetuning import named_layers, named_variables

logger = logging.getLogger(__name__)


class ForgettingMeter:
    """Compares a model with what it was before fine-tuning: scores, outputs, weights.

    Probes measure what should not be lost, such as zero-shot accuracy on other data.
    For each block (see `kmmft.finetuning.layer_depths`), and each layer outside of
    blocks, there are two numbers more:

    - the relative drift of its weights, `||w - w0|| / ||w0||`, computed in float64.
      BatchNorm's statistics are left out; of weights that were all zero and are not
      any more there is none;
    - linear CKA of its mean output with its own at the start, on a fixed batch. 1 is
      as it was, but for rotation and scale.

    Weights that came in between, such as those of adapters, are new: they are named,
    and have no drift. The kernels beside which LoRA learns have none either, while
    CKA shows what it does; after `kmmft.finetuning.merge_adapters` drift does too.

    Args:
        model: Built model, with the weights from which fine-tuning starts.
        probes: Functions by name. Each is given the model and returns a dict of
            numbers.
        batch: Inputs of the model, the same before and after, for CKA: some hundred
            examples that nobody trains on. `None` for no CKA.
        layers: `fnmatch` patterns over the paths of `kmmft.finetuning.named_layers`,
            for other rows than blocks. Layers within one that matches count with it.
        directory: Where to keep the start, so that a run that was killed and goes on
            compares with its true start. `None` for memory only.
        debiased: Whether to estimate CKA without bias, for small batches.
        batch_size: Examples of `batch` that run at a time.

    Raises:
        ValueError: If a probe is not callable, a pattern matches nothing, or `batch`
            has fewer than three examples (four if `debiased`).

    Example:
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(3, "relu", name="body"),
        ...     keras.layers.Dense(1, name="head"),
        ... ])
        >>> x, y = np.random.default_rng(0).normal(size=(8, 2)), np.arange(8.0)
        >>> model.layers[0].trainable = False
        >>> model.compile("sgd", "mse")
        >>> meter = kmmft.evaluation.ForgettingMeter(
        ...     model, {"old": lambda m: {"mse": m.evaluate(x, y, verbose=0)}}, batch=x)
        >>> meter.start()
        >>> history = model.fit(x, y, verbose=0)
        >>> forgetting = meter.finish()
        >>> forgetting.layers["body"][0]
        0.0
        >>> forgetting.metrics()["forgetting/difference/old/mse"] < 0
        True
        >>> path = kmmft.evaluation.write_report(
        ...     "report.html", title="Forgetting", metrics=forgetting.metrics(),
        ...     history=history.history, examples=[], confusion=None, config={},
        ...     tables=forgetting.tables(), sections=[forgetting.section()])

    References:
        - [Kornblith et al., 2019](https://arxiv.org/abs/1905.00414), eq. 2-3 and
          section 3 (CKA).
        - [Neyshabur et al., 2020](https://arxiv.org/abs/2008.11687), section 3
          (similarity of outputs and distance of weights in transfer learning).
    """

    def __init__(
        self,
        model: keras.Model,
        probes: Mapping[str, Callable[[keras.Model], Mapping[str, float]]]
        | None = None,
        batch=None,
        layers: str | Sequence[str] | None = None,
        *,
        directory: str | os.PathLike | None = None,
        debiased: bool = False,
        batch_size: int = 32,
    ):
        self.model = model
        self.probes = dict(probes or {})
        self.batch = None if batch is None else model_batch(model, batch)
        self.directory = directory
        self.debiased = debiased
        self.batch_size = batch_size
        self.parts = measured_layers(model, layers)
        _check_probes(self.probes)
        _check_batch(self.batch, 4 if debiased else 3)
        self._start = None

    def start(self) -> None:
        """Measures the model as it is now; what `finish` compares with.

        If the directory holds a start already, it is that one. Call it before the
        weights of a checkpoint are loaded that goes on with fine-tuning, and before
        the plan is applied if adapters are to count as new.

        Raises:
            ValueError: If the directory's start is that of other probes, layers or
                another batch, or a probe returns no dict of numbers.
        """
        if self.directory is not None:
            self._start = read_start(self.directory)
        if self._start is not None:
            self._check_settings(self._start.settings)
            logger.info("The start of fine-tuning is that in %s", self.directory)
            return
        self._start = ForgettingStart(
            weights={k: copied(v) for k, v in learnt_weights(self.model).items()},
            outputs=self._outputs(self.parts),
            scores=self._scores(),
            parts=self.parts,
            settings=self._settings(),
        )
        if self.directory is not None:
            self._start.write(self.directory)

    def finish(self) -> Forgetting:
        """Compares the model as it is now with its start; may be called again.

        Returns:
            A `kmmft.evaluation.Forgetting`.

        Raises:
            ValueError: If there was no start, weights of the start are gone or have
                another shape, or a probe returns other scores than at the start.
        """
        if self._start is None:
            raise ValueError(
                "`finish` compares with a start. Received: no start. Call `start()` "
                "before fine-tuning."
            )
        start = self._start
        variables = named_variables(self.model)
        _check_weights(variables, start.weights)
        after = self._scores()
        if set(after) != set(start.scores):
            raise ValueError(
                "Probes must return the same scores before and after. Received: "
                f"{sorted(start.scores)} before and {sorted(after)} after."
            )
        drifts = self._drifts(variables)
        ckas = self._ckas()
        return Forgetting(
            before=start.scores,
            after=after,
            layers={part: (drifts.get(part), ckas.get(part)) for part in start.parts},
            drift=drifts.get(None),
            new_weights=tuple(
                path for path in learnt_weights(self.model) if path not in start.weights
            ),
        )

    def _drifts(self, variables: Mapping) -> dict[str | None, float]:
        """Relative drift by part, and of all weights under `None`."""
        layers, squares = named_layers(self.model), {}
        for path, first in self._start.weights.items():
            first = first.astype(np.float64)
            change = copied(variables[path]).astype(np.float64) - first
            own = np.array([np.sum(change**2), np.sum(first**2)])
            for part in {None, part_of(path, self._start.parts, layers)}:
                squares[part] = squares.get(part, 0.0) + own
        return {
            part: float(np.sqrt(change / first)) if change else 0.0
            for part, (change, first) in squares.items()
            if first or not change
        }

    def _ckas(self) -> dict[str, float]:
        first, found = self._start.outputs, {}
        for part, now in self._outputs(list(first)).items():
            cka = linear_cka(first[part], now, self.debiased)
            if np.isfinite(cka):
                found[part] = cka
        return found

    def _outputs(self, parts: list[str]) -> dict[str, np.ndarray]:
        if self.batch is None:
            return {}
        return pooled_outputs(self.model, self.batch, parts, self.batch_size)

    def _scores(self) -> dict[str, float]:
        scores = {}
        for name, probe in self.probes.items():
            scores |= _numbers(name, probe(self.model))
        return scores

    def _settings(self) -> dict[str, str]:
        return {
            "probes": ", ".join(sorted(self.probes)),
            "batch": "none" if self.batch is None else fingerprint(self.batch),
        }

    def _check_settings(self, before: dict[str, str]) -> None:
        now = self._settings() | {"layers": self.parts}
        before = before | {"layers": self._start.parts}
        changed = [name for name in now if now[name] != before[name]]
        if changed:
            self._start = None
            raise ValueError(
                "A start is compared with the same probes, batch and layers. Received: "
                f"{str(self.directory)!r}, whose start has other {changed}. Name "
                "another directory, or remove this one."
            )


def _numbers(name: str, scores) -> dict[str, float]:
    try:
        found = {f"{name}/{key}": float(value) for key, value in scores.items()}
    except (AttributeError, TypeError, ValueError):
        found = {}
    if not found:
        raise ValueError(
            f"A probe must return a dict of numbers. Received: {scores!r} of the "
            f'probe {name!r}. Return such as {{"accuracy": 0.8}}.'
        )
    return found


def _check_probes(probes: Mapping) -> None:
    for name, probe in probes.items():
        if not callable(probe):
            raise ValueError(
                f"A probe must be a function of the model. Received: {probe!r} for "
                f"{name!r}. Give a function that returns a dict of numbers."
            )


def _check_batch(batch, needed: int) -> None:
    sizes = (
        {len(value) for value in tf.nest.flatten(batch)} if batch is not None else ()
    )
    if batch is not None and (len(sizes) != 1 or min(sizes) < needed):
        raise ValueError(
            f"`batch` must hold {needed} or more examples, as many in each input. "
            f"Received: {sorted(sizes)}. Give some hundred."
        )


def _check_weights(variables: Mapping, before: Mapping[str, np.ndarray]) -> None:
    changed = [
        path
        for path, value in before.items()
        if path not in variables or tuple(variables[path].shape) != value.shape
    ]
    if changed:
        raise ValueError(
            "A model must keep the weights that it started with, in their shapes. "
            f"Received: {len(changed)} that are gone or changed, such as "
            f"{changed[:3]}. Measure the model from which fine-tuning started."
        )
