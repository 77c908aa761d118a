"""Recommends items by picture and text after those that a user chose before.

Data: items, as `--manifest FILE` with columns of ids, image paths and texts, or as
`--data DIR`, records whose image or text may be empty; and `--histories FILE`, a table
with a row for each item that a user chose, in the order of time or with a column of
times.

    python -m recipes.recommendation --preset smoke
    python -m recipes.recommendation --preset open_clip_art
    python -m recipes.recommendation --manifest items.csv --histories orders.csv

An item is known by the vectors of frozen encoders, a user by the items before; the
last item of each user is the test, the last but one the validation, and the others are
learnt from. All items compete. The table shows new items, which nobody chose in
training, apart. The presets' users are made up: each likes two kinds of drawings, and
what others like. Of 1,000 such users 15 to 16 % find their next of 1,515 drawings among
ten (two seeds; the most popular ones: 5 to 6 %), but hardly ever a new one: corrected
for frequencies, the model has learnt what is popular, too.

The served model gives the vectors of items (`encode_item`) and of users
(`encode_user`); `item_vectors.npz` in the run directory has all items'.
"""

import functools

import keras
import numpy as np

import kmmft
from kmmft.evaluation import Example

from .recommending.data import (
    Catalogue,
    open_histories,
    open_items,
    read_catalogue,
    training_batches,
)
from .recommending.histories import Histories
from .recommending.settings import PRESETS, Config
from .recommending.testing import (
    NextItemEvaluator,
    by_likeness,
    by_model,
    by_popularity,
    item_vectors,
    result_table,
    test_metrics,
    with_popularity,
)


def build_model(config: Config) -> kmmft.models.SequenceRecommender:
    return kmmft.models.SequenceRecommender(
        {
            "image": kmmft.encoders.ImageEncoder.from_preset(
                config.image_encoder, image_size=config.image_size
            ),
            "text": kmmft.encoders.TextEncoder.from_preset(
                config.text_encoder, sequence_length=config.sequence_length
            ),
        },
        hidden_dim=config.hidden_dim,
        history_length=config.history_length,
        num_layers=config.num_layers,
        dropout_rate=config.dropout_rate,
        modality_dropout_rate=config.modality_dropout_rate,
        logit_scale=1 / config.temperature,
    )


def train(
    config: Config, source: kmmft.data.RecordSource, run: kmmft.training.RunDirectory
) -> tuple[kmmft.models.SequenceRecommender, Catalogue, Histories, dict[str, float]]:
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.dtype_policy)
    with kmmft.training.make_strategy(config.strategy).scope():
        model = build_model(config)
        items = read_catalogue(config, source, model)
        histories = open_histories(config, items)
        examples = len(histories.training_examples(config.history_length)[1])
        if examples < config.batch_size:
            raise ValueError(
                "`--batch_size` must be no larger than the number of training "
                f"examples. Received: {config.batch_size}, and {examples} examples."
            )
        steps, rounds = config.rounds(examples // config.batch_size)
        model.compile(
            kmmft.training.adamw(
                config.learning_rate, steps * rounds, weight_decay=config.weight_decay
            )
        )
    seconds = kmmft.training.resumable_fit(
        model,
        functools.partial(training_batches, config, items, histories),
        run=run,
        steps_per_epoch=steps,
        epochs=rounds,
        callbacks=[NextItemEvaluator(items, histories, config.list_length)],
        monitor=f"val_ndcg_at_{config.list_length}",
        patience=config.patience,
    )
    samples = steps * config.batch_size * len(run.history())
    return (
        model,
        items,
        histories,
        {"train/seconds": seconds, "train/samples_per_second": samples / seconds},
    )


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports and exports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(
        config, run_once, lambda metrics: result_table(metrics, config.list_length)
    )


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_items(config)
    with kmmft.data.clear_data_errors(source):
        model, items, histories, metrics = train(config, source, run)
    vectors = item_vectors(model, items)
    scorers = {
        "popular": by_popularity(histories),
        "nearest": by_likeness(items),
        "with_popularity": with_popularity(model, vectors, histories),
        "test": by_model(model, vectors),
    }
    metrics |= test_metrics(histories, scorers, config.list_length)
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    run.write_model(model)
    np.savez(run.path / "item_vectors.npz", ids=items.ids, vectors=vectors)
    if not (run.export / "1").exists():
        export(source, run, model, metrics)
    kmmft.evaluation.report_examples(
        run,
        recommended(items, histories, scorers["test"]),
        title="Recommendation",
        metrics=metrics,
        tables=[result_table(metrics, config.list_length)],
        notes=__doc__.split("\n", 1)[0],
    )
    run.write_metrics(metrics)
    return metrics


def recommended(items: Catalogue, histories: Histories, score) -> list[Example]:
    """For some users the items before, the next one, and the one foretold first."""
    before, targets = (part[:24] for part in histories.held_out("test"))
    scores = score(before)
    for row, seen in enumerate(before):
        scores[row, seen] = -np.inf
    return [
        Example(
            image=None,
            text=f"{user}: {', '.join(items.texts[item] for item in seen[-5:])}",
            target=items.texts[target],
            prediction=items.texts[found],
            id=user,
        )
        for user, seen, target, found in zip(
            histories.users, before, targets, scores.argmax(axis=1), strict=False
        )
    ]


def export(
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
    model: kmmft.models.SequenceRecommender,
    metrics: dict[str, float],
) -> None:
    split = next(iter(source.splits))
    records = kmmft.data.first_records(source, split, 3, on_error="skip")
    raw = {
        "image": [record["image"] for record in records],
        "text": [
            record["text"] if "text" in record else record["captions"][0]
            for record in records
        ],
    }
    card = kmmft.export.ModelCard.from_run(run, "Recommendation", source, metrics)
    kmmft.export.export_bundle(model, run.export, raw, card=card, version=1)


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
