"""Smaller and faster variants of the served classifier."""

import numpy as np

import kmmft
from kmmft.evaluation import Table

from ..variants.table import budget_table
from .settings import Config


def variants_table(
    config: Config,
    model: kmmft.models.FusionClassifier,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
) -> Table:
    """Exports variants, and chooses the most accurate within the budget."""
    test = kmmft.data.first_records(source, "test", 1000, on_error="skip")
    known = kmmft.data.first_records(source, "train", 200, on_error="skip")
    raw, examples = (
        {name: [record[name] for record in records] for name in model.encoders}
        for records in (test, known)
    )
    truth = np.array([record["answer"].encode() for record in test], object)
    variants = kmmft.export.export_variants(
        model,
        run.path / "variants",
        examples,
        lambda answer: np.mean(answer(raw)["label"] == truth),
        baseline=run.export / "1",
    )
    title = f"Variants of the served model, on {len(test)} test questions"
    scores = {"accuracy": [variant.score for variant in variants]}
    return budget_table(config, variants, title, scores)
