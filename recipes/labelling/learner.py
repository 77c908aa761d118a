"""Trains a classifier on few labels, and chooses what to label next."""

import numpy as np

import kmmft
from kmmft.data import Examples

from .settings import Config


class Learner:
    """Trains what stands above the frozen encoders, each time from the start.

    One graph serves all trainings. The classifier that was given is trained with it.

    Args:
        config: The settings.
        model: A new classifier.
        examples: Some examples as `kmmft.evaluation.frozen_features` gives them.
    """

    def __init__(
        self, config: Config, model: kmmft.models.FusionClassifier, examples: Examples
    ):
        self._config = config
        self._head = kmmft.evaluation.head_on_features(model, examples)
        optimizer = kmmft.training.adamw(
            config.learning_rate,
            total_steps=config.steps,
            weight_decay=config.weight_decay,
        )
        self._head.compile(optimizer, model.default_loss())
        optimizer.build(self._head.trainable_variables)
        variables = [*self._head.variables, *optimizer.variables]
        self._start = [(v, np.array(v)) for v in variables]

    def train(self, examples: Examples, seed: int) -> None:
        """Forgets what it has learnt and trains on these examples."""
        for variable, value in self._start:
            variable.assign(value)
        self._head.fit(
            examples.training_batches(self._config.batch_size, seed),
            steps_per_epoch=self._config.steps,
            shuffle=False,
            verbose=0,
        )

    def probabilities(self, examples: Examples) -> np.ndarray:
        """Probabilities of the classes, float64 `(examples, classes)`."""
        logits = self._head.predict(dict(examples.inputs), batch_size=256, verbose=0)
        logits = logits.astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def accuracy(self, examples: Examples) -> float:
        """Share of examples whose likeliest class is the label."""
        found = self.probabilities(examples).argmax(axis=1)
        return float((found == examples.labels).mean())


def choose(
    method: str,
    count: int,
    *,
    probabilities: np.ndarray | None,
    vectors: np.ndarray,
    centers: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses examples to label, the most wanted first.

    Args:
        method: One of `METHODS`.
        count: How many; all, if there are fewer.
        probabilities: A classifier's, `(examples, classes)`, for the uncertainties.
        vectors: `(examples, dim)`, for core sets.
        centers: `(labelled, dim)`, likewise of what is labelled.
        seed: Seed of the random choice.

    Returns:
        Their rows, and their scores: uncertainty, distance, or 0.
    """
    count = min(count, len(vectors))
    if method == "core_set":
        return kmmft.evaluation.core_set(vectors, centers, count)
    if method == "random":
        rows = np.random.default_rng(seed).permutation(len(vectors))[:count]
        return rows, np.zeros(count)
    scores = kmmft.evaluation.uncertainty(probabilities, method)
    rows = np.argsort(-scores, kind="stable")[:count]
    return rows, scores[rows]
