"""Smaller and faster variants of the served classifier."""

import numpy as np

import kmmft
from kmmft.evaluation import Table

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
    try:
        chosen = kmmft.export.choose_variant(
            variants, config.max_latency_ms or None, config.max_size_mb or None
        )
        number = variants.index(chosen)
        note = f"Chosen within the budget: {chosen.name}, in {chosen.directory}."
    except ValueError as error:  # the run is worth its report all the same
        number, note = None, str(error)
    return Table(
        f"Variants of the served model, on {len(test)} test questions",
        ["variant", "MB", "ms, 1 row", "ms, 8", "ms, 32", "accuracy", "refused"],
        [
            [v.name, v.size_mb, *map(v.latency_ms.get, (1, 8, 32)), v.score, v.refused]
            for v in variants
        ],
        highlight=number,
        note=note,
    )
