"""Trains a video and a text encoder to meet in one space: clips found by words.

Data: `--manifest FILE`, a CSV, TSV or JSONL file with a column of video paths (GIF;
MP4, WebM and the like with `pip install 'kmmft[video]'`) and one of captions, or
`--data DIR`, records of `kmmft.data.schema.video_text`. The presets smoke and shapes
draw clips of coloured shapes that move. Each comes with its reverse, so that a clip's
direction can be told only from the order of its frames: the table shows that the mean
over frames finds the right caption half the time, and transformers nearly always, be
it one over frames or one that scores a text and the frames together.

    python -m recipes.video_text --preset smoke
    python -m recipes.video_text --preset shapes
    python -m recipes.video_text --manifest clips.csv --num_frames 12

The run directory keeps `model.keras`, and serves `encode_video`, `encode_text` and
what compares them from `export/1`.
"""

import functools
import pathlib

import keras
import numpy as np

import kmmft
import tfrecords_tools
from kmmft.data import RecordSource
from kmmft.evaluation import Example, Table
from kmmft.training import RunDirectory

from .videos.settings import AGGREGATIONS, PRESETS, Config

Model = kmmft.models.DualEncoder | kmmft.models.TightVideoText
DIRECTIONS = ("video_to_text", "text_to_video")


def open_data(config: Config) -> RecordSource:
    """Opens the data, after building them where a manifest is given."""
    kmmft.training.check_one_source(manifest=config.manifest, data=config.data)
    schema = kmmft.data.schema.video_text()
    folder = pathlib.Path(config.output_dir, "data")
    directory = config.data or folder / "videos/1.0.0"
    if not (config.data or directory.exists()):
        manifest = config.manifest
        if manifest == "shapes":
            manifest = kmmft.data.write_moving_shapes(
                folder / "clips", config.image_size, config.num_frames
            )
        tfrecords_tools.build_manifest(
            manifest=manifest,
            output_dir=folder,
            name="videos",
            video_column=config.video_column,
            caption_column=config.caption_column,
            split_column=config.split_column or None,
            num_frames=config.num_frames,
            frame_size=config.image_size,
            options=tfrecords_tools.BuildOptions(skip_bad=config.skip_bad),
        )
    return kmmft.data.check_splits(kmmft.data.open_source(directory, schema))


def build_model(config: Config, source: RecordSource, aggregation: str) -> Model:
    image_encoder = build_image_encoder(config)
    image_encoder.trainable = config.train_image_encoder
    text_encoder = kmmft.encoders.caption_encoder(
        config.text_encoder, source, config.sequence_length
    )
    text_encoder.trainable = config.train_text_encoder
    video_encoder = kmmft.encoders.VideoEncoder(
        image_encoder,
        num_frames=config.num_frames,
        aggregation="mean" if aggregation == "tight" else aggregation,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        dropout_rate=config.dropout_rate,
    )
    if aggregation == "tight":
        return kmmft.models.TightVideoText(
            video_encoder,
            text_encoder,
            projection_dim=config.projection_dim,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
        )
    return kmmft.models.DualEncoder(
        {"video": video_encoder, "text": text_encoder},
        projection_dim=config.projection_dim,
        logit_scale=1 / config.temperature,
    )


def build_image_encoder(config: Config) -> kmmft.encoders.ImageEncoder:
    if config.image_encoder != "small":
        return kmmft.encoders.ImageEncoder.from_preset(
            config.image_encoder, image_size=config.image_size
        )
    image = keras.Input((config.image_size, config.image_size, 3))
    x = keras.layers.Conv2D(16, 4, strides=4, activation="relu")(image)
    x = keras.layers.Conv2D(32, 2, strides=2, activation="relu")(x)
    # Unlike a mean over places, this knows where in the picture things are.
    vector = keras.layers.Dense(64)(keras.layers.Flatten()(x))
    backbone = keras.Model(image, vector, name="small")
    return kmmft.encoders.ImageEncoder(backbone, config.image_size)


def make_evaluator(
    config: Config, source: RecordSource, split: str
) -> kmmft.evaluation.RetrievalEvaluator:
    return kmmft.evaluation.RetrievalEvaluator.with_ks_that_fit(
        source,
        split,
        features={"video": "video", "text": "captions"},
        max_bad_fraction=config.max_bad_fraction,
    )


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports and exports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(
        config, run_once, lambda metrics: result_table(config, metrics)
    )


def run_once(config: Config, run: RunDirectory) -> dict[str, float]:
    source = open_data(config)
    metrics = {}
    with kmmft.data.clear_data_errors(source):
        for aggregation in config.aggregations.split(","):
            # Each training has a directory of its own, to be resumed.
            own = RunDirectory(run.path / aggregation, config)
            with own:
                model, trained = kmmft.training.fit_pairs(
                    config,
                    source,
                    own,
                    "video",
                    functools.partial(build_model, config, source, aggregation),
                    make_evaluator(config, source, "validation"),
                )
            evaluator = make_evaluator(config, source, "test")
            encoded = evaluator.encode(model)
            scores = evaluator.metrics(encoded)
            metrics |= {f"{aggregation}/{name}": x for name, x in scores.items()}
    metrics |= {f"test/{name}": value for name, value in scores.items()} | trained
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    run.write_model(model)
    if not (run.export / "1").exists():
        records = kmmft.data.first_records(source, "test", 3, on_error="skip")
        raw = {
            "video": same_length([record["video"].tolist() for record in records]),
            "text": [record["captions"][0] for record in records],
        }
        card = kmmft.export.ModelCard.from_run(
            run, "Video-text fine-tuning", source, metrics
        )
        kmmft.export.export_bundle(model, run.export, raw, card=card, version=1)
    write_report(config, run, own.history(), source, encoded, metrics)
    run.write_metrics(metrics)
    return metrics


def same_length(videos: list[list[bytes]]) -> list[list[bytes]]:
    """Fills up with the empty string, which stands for a frame that is not there."""
    longest = max(map(len, videos))
    return [video + [b""] * (longest - len(video)) for video in videos]


def write_report(
    config: Config,
    run: RunDirectory,
    history: list[dict[str, float]],
    source: RecordSource,
    encoded: kmmft.evaluation.RecordVectors,
    metrics: dict[str, float],
) -> None:
    """Numbers, curves, and test clips with their own caption and the best one."""
    captions = encoded.texts["text"]
    scores = encoded.scores
    if scores is None:
        scores = encoded.vectors["video"] @ encoded.vectors["text"].T
    row_of = {name: row for row, name in enumerate(encoded.ids)}
    first_caption = np.searchsorted(encoded.record_of["text"], range(len(scores)))
    examples = [
        Example(
            image=kmmft.evaluation.animated_clip(record["video"].tolist()),
            text="Which caption fits best?",
            target=captions[first_caption[row]],
            prediction=captions[int(np.argmax(scores[row]))],
            id=record["id"],
        )
        for record in kmmft.data.first_records(source, "test", 12, on_error="skip")
        # A clip that could not be decoded has no row.
        if (row := row_of.get(record["id"])) is not None
    ]
    curves = ("loss", "val_mean_recall")
    kmmft.evaluation.write_report(
        run.report,
        title="Video-text fine-tuning",
        metrics=metrics,
        history={name: [row.get(name) for row in history] for name in curves},
        examples=examples,
        confusion=None,
        config=run.config,
        tables=[result_table(config, metrics)],
        notes=__doc__.split("\n", 1)[0],
    )


def result_table(config: Config, metrics: dict[str, float]) -> Table:
    """Test recall in both directions, a row for each way to see the frames."""
    names = [f"{way}/recall_at_{k}" for way in DIRECTIONS for k in (1, 5, 10)]
    names = [name for name in names if f"test/{name}" in metrics]
    aggregations = config.aggregations.split(",")
    return Table(
        "Test recall at 1, 5 and 10, over the whole split",
        ["", *(short_name(name) for name in names)],
        [
            [AGGREGATIONS[key], *(metrics[f"{key}/{name}"] for name in names)]
            for key in aggregations
        ],
        highlight=len(aggregations) - 1,
    )


def short_name(name: str) -> str:
    direction, recall = name.split("/")
    arrow = direction.replace("_to_", " → ")
    return f"{arrow} R@{recall.rpartition('_')[2]}"


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
