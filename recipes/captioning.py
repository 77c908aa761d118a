"""Trains a model that writes captions of pictures.

Data: `--data DIR`, records of `kmmft.data.schema.image_text`, or `--manifest FILE`, a
CSV, TSV or JSONL file with a column of image paths and one of captions; the captions of
one image are its references. The preset open_clip_art takes 2,100 drawings from two
Debian packages (`apt-get install openclipart-png openclipart-svg`), whose captions are
their titles, and their titles with tags. Metrics need `pip install
kmmft[text_metrics]`.

    python -m recipes.captioning --preset smoke
    python -m recipes.captioning --preset open_clip_art
    python -m recipes.captioning --manifest pairs.csv --decoder gpt2_base_en

The preset open_clip_art trains for 6 minutes. Of 252 test pictures its
captions reach ROUGE-L 11.6 % and CIDEr-D 0.181, where the nearest picture's captions
have 9.9 % and 0.281: 1,672 titles, most of them used once, are too few to learn to
write, and copying a near-duplicate's title finds whole phrases.

The decoder is a small transformer from scratch that writes in the word pieces of the
training captions, or with `--decoder` a GPT-2 of KerasHub with the picture as prefix.
The table shows the model among its floors: the most frequent training caption, and the
caption of the training picture that is nearest by the frozen image encoder. The served
model takes image bytes and returns strings.
"""

import dataclasses
import functools
import pathlib

import keras
import keras_hub
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.evaluation import Table

SEARCHES = {
    "greedy": lambda config: kmmft.models.Greedy(),
    "beam": lambda config: kmmft.models.BeamSearch(
        config.num_beams, config.length_penalty
    ),
    "sampling": lambda config: kmmft.models.Sampling(
        config.top_k or None, config.top_p or None, config.temperature
    ),
}
ROWS = {
    "most_frequent": "most frequent caption",
    "nearest": "caption of the nearest picture",
    "test": "this model",
}


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.RecipeConfig):
    """Settings of one run."""

    output_dir: str = "runs/captioning"
    """Directory of the run. The same command goes on with a run that was killed."""
    manifest: str = ""
    """CSV, TSV or JSONL file of pairs, in place of --data. shapes: small pictures that
    are drawn on the spot; open_clip_art: drawings from two Debian packages."""
    image_column: str = "image"
    """Column of image paths, relative to the file."""
    caption_column: str = "caption"
    """Column of captions."""
    split_column: str = ""
    """Column of train, validation and test; without one, by a hash of the image."""
    first_caption_only: bool = False
    """Whether a picture's first caption alone is learnt, and not one at random; all of
    them are references in the test."""
    decoder: str = "scratch"
    """scratch, or a GPT-2 preset of KerasHub, or its local directory."""
    hidden_dim: int = 256
    """Width of the decoder from scratch."""
    num_layers: int = 2
    """Blocks of the decoder from scratch."""
    num_heads: int = 4
    """Attention heads of the decoder from scratch."""
    dropout_rate: float = 0.3
    """Dropout in the decoder from scratch."""
    search: str = "beam"
    """greedy, beam or sampling."""
    num_beams: int = 4
    """Texts that a beam search keeps."""
    length_penalty: float = 0.6
    """Larger values make a beam search's captions longer."""
    top_k: int = 0
    """Words to draw from when sampling; 0 for all."""
    top_p: float = 0.9
    """Probability of the words to draw from when sampling; 0 for all."""
    temperature: float = 1.0
    """Divides the logits when sampling."""
    resize_mode: str = "crop"
    """How images are brought to --image_size: crop, pad or stretch."""
    smallest_crop: float = 0.7
    """Smallest part of a training image's area that is cut out; 1 for all of it."""
    horizontal_flip: bool = False
    """Whether training images are mirrored at random."""

    def __post_init__(self):
        super().__post_init__()
        if self.search not in SEARCHES:
            raise ValueError(
                f"`--search` must be one of {', '.join(SEARCHES)}. "
                f"Received: {self.search!r}."
            )


PRESETS = {
    "default": Config(),
    "smoke": Config(
        manifest="shapes",
        split_column="split",
        output_dir="runs/captioning_smoke",
        train_image_encoder=False,
        image_size=64,
        sequence_length=6,
        hidden_dim=32,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        num_beams=2,
        epochs=12,
        patience=12,
        batch_size=16,
        learning_rate=1e-2,
        smallest_crop=1.0,
        max_bad_fraction=0.0,
    ),
    "open_clip_art": Config(
        manifest="open_clip_art",
        output_dir="runs/captioning_open_clip_art",
        train_image_encoder=False,
        image_size=128,
        resize_mode="pad",
        smallest_crop=0.5,
        sequence_length=24,
        epochs=10,
        patience=3,
        batch_size=64,
        learning_rate=1e-3,
        weight_decay=2e-2,
        max_bad_fraction=0.0,
    ),
}


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building them where a manifest is given."""
    if bool(config.manifest) == bool(config.data):
        raise ValueError(
            "Either `--manifest` or `--data` must be given. Received: "
            f"manifest={config.manifest!r}, data={config.data!r}."
        )
    schema = kmmft.data.schema.image_text()
    if config.data:
        return kmmft.data.open_source(config.data, schema)
    folder = pathlib.Path(config.output_dir, "data")
    directory = folder / "pairs/1.0.0"
    if not directory.exists():
        build_records(config, folder)
    return kmmft.data.open_source(directory, schema)


def build_records(config: Config, folder: pathlib.Path) -> None:
    if config.manifest == "open_clip_art":
        tfrecords_tools.build_open_clip_art(output_dir=folder, name="pairs")
        return
    manifest = config.manifest
    if manifest == "shapes":
        manifest = kmmft.data.write_colored_shapes(folder / "pictures")
    tfrecords_tools.build_manifest(
        manifest=manifest,
        output_dir=folder,
        name="pairs",
        image_column=config.image_column,
        caption_column=config.caption_column,
        split_column=config.split_column or None,
    )


def training_captions(source: kmmft.data.RecordSource) -> list[str]:
    records = kmmft.data.read_records(source, "train", on_error="skip").map(
        lambda record: kmmft.data.parse_record(record, source.features)["captions"]
    )
    return [text.decode() for texts in records.as_numpy_iterator() for text in texts]


def build_data(
    config: Config,
    source: kmmft.data.RecordSource,
    split: str,
    model: kmmft.models.FusionGenerator,
    start_step: int | None = None,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Batches to learn from; endless and shuffled if `start_step` is given."""
    change = kmmft.data.ImageAugmentation(
        crop_area=(config.smallest_crop, 1.0), horizontal_flip=config.horizontal_flip
    )
    training = start_step is not None

    def preprocess(record):
        decoded = model.decode_record(record)
        if training:
            return decoded
        caption = kmmft.data.choose_caption(record["captions"])
        return {"image": decoded["image"], "caption": caption}

    def augment(record, seed):
        chosen = None if config.first_caption_only else seed
        return {
            "image": change(record["image"], seed),
            "caption": kmmft.data.choose_caption(record["captions"], chosen),
        }

    return kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=preprocess,
        augment=augment,
        batch_preprocess=model.prepare_batch,
        batch_size=config.batch_size,
        training=training,
        start_step=start_step or 0,
        input_context=input_context,
        **config.reading(training),
    )


def build_model(config: Config, captions: list[str]) -> kmmft.models.FusionGenerator:
    image_encoder = kmmft.encoders.ImageEncoder.from_preset(
        config.image_encoder,
        image_size=config.image_size,
        resize_mode=config.resize_mode,
    )
    image_encoder.trainable = config.train_image_encoder
    if config.decoder == "scratch":
        tokenizer = kmmft.encoders.shrink_tokenizer(
            kmmft.encoders.TextEncoder.from_preset(
                config.text_encoder, load_weights=False
            ).tokenizer,
            captions,
        )
        decoder = kmmft.models.CrossAttentionDecoder(
            tokenizer.vocabulary_size(),
            config.hidden_dim,
            config.num_layers,
            config.num_heads,
            max_length=config.sequence_length,
            dropout_rate=config.dropout_rate,
        )
    else:
        tokenizer = keras_hub.tokenizers.GPT2Tokenizer.from_preset(config.decoder)
        decoder = kmmft.models.PrefixDecoder.from_preset(config.decoder)
    return kmmft.models.FusionGenerator(
        {"image": image_encoder},
        decoder,
        tokenizer,
        max_length=config.sequence_length,
        search=SEARCHES[config.search](config),
    )


def train(
    config: Config,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
) -> tuple[kmmft.models.FusionGenerator, dict[str, float]]:
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.dtype_policy)
    steps, rounds = config.rounds(
        kmmft.data.steps_per_epoch(source, "train", config.batch_size)
    )
    with kmmft.training.make_strategy(config.strategy).scope():
        model = build_model(config, training_captions(source))
        optimizer = kmmft.training.adamw(
            config.learning_rate,
            total_steps=steps * rounds,
            weight_decay=config.weight_decay,
        )
        model.compile(optimizer)
    # Before training, which may change the image encoder.
    floors = kmmft.evaluation.caption_floors(
        model, source, max_bad_fraction=config.max_bad_fraction
    )
    metrics = {
        f"{floor}/{name}": value
        for floor, written in floors.items()
        for name, value in written.metrics().items()
    }
    seconds = kmmft.training.resumable_fit(
        model,
        functools.partial(build_data, config, source, "train", model),
        run=run,
        steps_per_epoch=steps,
        epochs=rounds,
        validation_data=build_data(config, source, "validation", model),
        monitor="val_loss",
        patience=config.patience,
    )
    samples = steps * config.batch_size * len(run.history())
    return model, {
        **metrics,
        "train/seconds": seconds,
        "train/samples_per_second": samples / seconds,
    }


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports and exports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(config, run_once, result_table)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_data(config)
    with kmmft.data.clear_data_errors(source):
        model, metrics = train(config, source, run)
        written = kmmft.evaluation.write_about_records(
            model, source, "test", max_bad_fraction=config.max_bad_fraction
        )
    scores = written.metrics()
    metrics = {f"test/{name}": value for name, value in scores.items()} | metrics
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    run.write_model(model)
    if not (run.export / "1").exists():
        records = kmmft.data.first_records(source, "test", 3, on_error="skip")
        raw = {"image": [record["image"] for record in records]}
        if model.search.draws:
            raw["seed"] = [config.seed] * len(records)
        card = kmmft.export.ModelCard.from_run(run, "Captioning", source, metrics)
        kmmft.export.export_bundle(model, run.export, raw, card=card, version=1)
    kmmft.evaluation.report_texts(
        run,
        written,
        title="Captioning",
        source=source,
        split="test",
        metrics=metrics,
        tables=[result_table(metrics)],
        notes=__doc__.split("\n", 1)[0],
    )
    run.write_metrics(metrics)
    return metrics


def result_table(metrics: dict[str, float]) -> Table:
    """The test split's result among its floors."""
    return kmmft.evaluation.caption_table(metrics, ROWS)


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
