"""Trains an audio and a text encoder to meet in one space: sounds found by words.

Data: `--manifest FILE`, a CSV, TSV or JSONL file with a column of paths of sounds (WAV;
FLAC and Ogg become WAV; `pip install 'kmmft[audio]'`) and one of captions, or
`--data DIR`, records of `kmmft.data.schema.audio_text`. The preset smoke makes tones
that rise, fall, stay or pulse. Beside recalls, which count a sound's own caption alone,
the table says how often the best of all different captions is the right one.

    python -m recipes.audio_text --preset smoke
    python -m recipes.audio_text --manifest sounds.csv --audio_seconds 10
    python -m recipes.audio_text --manifest sounds.csv --audio_encoder whisper_tiny_en

The run directory keeps `model.keras`, and serves `encode_audio`, `encode_text`, `rank`
and what else compares them from `export/1`. This is CLAP:
[Elizalde et al., 2022](https://arxiv.org/abs/2206.04769).
"""

import dataclasses
import functools
import pathlib

import numpy as np

import kmmft
import tfrecords_tools
from kmmft.data import RecordSource
from kmmft.evaluation import Example, RecordVectors, Table
from kmmft.training import RunDirectory

DIRECTIONS = ("audio_to_text", "text_to_audio")


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.AudioRecipeConfig):
    """Settings of one run."""

    output_dir: str = "runs/audio_text"
    """Directory of the run. The same command goes on with a run that was killed."""
    caption_column: str = "caption"
    """Column of captions."""
    text_encoder: str = "demo"
    """As everywhere, or small: the mean of vectors of the training captions' words."""
    projection_dim: int = 256
    """Width of the common space."""
    temperature: float = 0.07
    """First value of the learnt temperature of cosines."""


PRESETS = {
    "default": Config(),
    "smoke": Config(
        manifest="tones",
        split_column="split",
        output_dir="runs/audio_text_smoke",
        text_encoder="small",
        audio_seconds=1.0,
        hidden_dim=64,
        spec_augment=False,
        sequence_length=8,
        projection_dim=32,
        epochs=8,
        patience=8,
        batch_size=16,
        learning_rate=3e-3,
        max_bad_fraction=0.0,
    ),
}


def open_data(config: Config) -> RecordSource:
    """Opens the data, after building them where a manifest is given."""
    config.check_data()
    schema = kmmft.data.schema.audio_text()
    folder = pathlib.Path(config.output_dir, "data")
    directory = config.data or folder / "sounds/1.0.0"
    if not (config.data or directory.exists()):
        manifest = config.manifest
        if manifest == "tones":
            manifest = kmmft.data.write_tones(folder / "tones")
        tfrecords_tools.build_manifest(
            manifest=manifest,
            output_dir=folder,
            name="sounds",
            audio_column=config.audio_column,
            caption_column=config.caption_column,
            split_column=config.split_column or None,
            group_column=config.group_column or None,
            options=tfrecords_tools.BuildOptions(
                audio_to_wav=True, skip_bad=config.skip_bad
            ),
        )
    return kmmft.data.check_splits(kmmft.data.open_source(directory, schema))


def build_model(config: Config, source: RecordSource) -> kmmft.models.DualEncoder:
    text_encoder = kmmft.encoders.caption_encoder(
        config.text_encoder, source, config.sequence_length
    )
    text_encoder.trainable = config.train_text_encoder
    return kmmft.models.DualEncoder(
        {"audio": config.build_audio_encoder(), "text": text_encoder},
        projection_dim=config.projection_dim,
        logit_scale=1 / config.temperature,
    )


def make_evaluator(
    config: Config, source: RecordSource, split: str
) -> kmmft.evaluation.RetrievalEvaluator:
    return kmmft.evaluation.RetrievalEvaluator.with_ks_that_fit(
        source,
        split,
        features={"audio": "audio", "text": "captions"},
        max_bad_fraction=config.max_bad_fraction,
    )


def best_captions(encoded: RecordVectors) -> tuple[list[str], list[set[str]]]:
    """The best of all different captions for each sound, and which are right."""
    texts, rows = encoded.texts["text"], encoded.record_of["text"]
    different, first = np.unique(texts, return_index=True)
    scores = encoded.vectors["audio"] @ encoded.vectors["text"][first].T
    right = [set() for _ in scores]
    for text, row in zip(texts, rows, strict=True):
        right[row].add(text)
    return different[np.argmax(scores, axis=1)].tolist(), right


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports and exports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(config, run_once, result_table)


def run_once(config: Config, run: RunDirectory) -> dict[str, float]:
    source = open_data(config)
    with kmmft.data.clear_data_errors(source):
        model, metrics = kmmft.training.fit_pairs(
            config,
            source,
            run,
            "audio",
            functools.partial(build_model, config, source),
            make_evaluator(config, source, "validation"),
        )
        evaluator = make_evaluator(config, source, "test")
        encoded = evaluator.encode(model)
    scores = evaluator.metrics(encoded)
    metrics |= {f"test/{name}": value for name, value in scores.items()}
    best, right = best_captions(encoded)
    hits = [text in texts for text, texts in zip(best, right, strict=True)]
    metrics["test/caption_accuracy"] = float(np.mean(hits))
    metrics["test/different_captions"] = len(set(encoded.texts["text"]))
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    run.write_model(model)
    if not (run.export / "1").exists():
        records = kmmft.data.first_records(source, "test", 3, on_error="skip")
        raw = {
            "audio": [record["audio"] for record in records],
            "text": [record["captions"][0] for record in records],
        }
        card = kmmft.export.ModelCard.from_run(
            run, "Audio-text fine-tuning", source, metrics
        )
        kmmft.export.export_bundle(model, run.export, raw, card=card, version=1)
    write_report(run, best, right, encoded.ids, metrics)
    run.write_metrics(metrics)
    return metrics


def write_report(
    run: RunDirectory,
    best: list[str],
    right: list[set[str]],
    ids: list[str],
    metrics: dict[str, float],
) -> None:
    """Numbers, curves, and test sounds with their own caption and the best one."""
    rows = zip(ids, best, right, strict=True)
    examples = [
        Example(
            image=None,
            text="Which caption fits best?",
            target=text if text in texts else min(texts),
            prediction=text,
            id=name,
        )
        for name, text, texts in sorted(rows, key=lambda row: row[1] in row[2])[:24]
    ]
    curves, history = ("loss", "val_mean_recall"), run.history()
    kmmft.evaluation.write_report(
        run.report,
        title="Audio-text fine-tuning",
        metrics=metrics,
        history={name: [row.get(name) for row in history] for name in curves},
        examples=examples,
        confusion=None,
        config=run.config,
        tables=[result_table(metrics)],
        notes=__doc__.split("\n", 1)[0],
    )


def result_table(metrics: dict[str, float]) -> Table:
    """Test recall in both directions, and the share of right best captions."""
    names = [f"{way}/recall_at_{k}" for way in DIRECTIONS for k in (1, 5, 10)]
    rows = [[name, metrics.get(f"test/{name}")] for name in names]
    count = metrics["test/different_captions"]
    chosen = [f"best of {count} different captions is right"]
    return Table(
        "Test recall at 1, 5 and 10, over the whole split",
        ["", "share"],
        [*rows, [*chosen, metrics["test/caption_accuracy"]]],
        highlight=len(rows),
    )


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
