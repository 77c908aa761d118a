"""Draws pictures of texts: an image tokenizer, then a transformer over its codes.

Data: records of `kmmft.data.schema.image_text`; `easy_vqa` builds those of the pip
package easy-vqa, whose captions are made from its questions ("a blue circle").

    python -m recipes.visual_question_answering --preset quickstart
    python -m recipes.text_to_image --preset easy_vqa --judge runs/quickstart/export/1

The first command trains a judge that looks at the drawn pictures: it has never seen
this model, and is asked for shape and colour. Both stages go on after a kill.
"""

import collections
import dataclasses
import functools
import pathlib
import warnings

import keras
import numpy as np
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.evaluation import Example, Table

QUESTIONS = {
    "shape": "what shape is in the image?",
    "color": "what color is the shape?",
}


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.RecipeConfig):
    """Settings of one run."""

    data: str = "easy_vqa"
    """TFDS directory of images with captions; easy_vqa for the pictures of the pip
    package easy-vqa; shapes for small pictures that are drawn on the spot."""
    output_dir: str = "runs/text_to_image"
    """Directory of the run. The same command goes on with a run that was killed."""
    judge: str = ""
    """SavedModel of the recipe visual_question_answering, which is asked for shape and
    colour of the drawn pictures; empty for none."""
    ranker: str = ""
    """Run directory of the recipe contrastive, whose model keeps the best of several
    pictures of a text in the test; empty for none."""
    candidates: int = 4
    """Pictures that the ranker chooses from."""
    image_size: int = 64
    """Height and width of the pictures in pixels."""
    smallest_crop: float = 0.8
    """Smallest part of a training image's area that is cut out; 1 for all of it."""
    horizontal_flip: bool = True
    """Whether training images are mirrored at random: not if texts tell left from
    right."""
    sequence_length: int = 8
    """Tokens of a text, special tokens included."""
    train_text_encoder: bool = False
    """Whether the text encoder's weights are trained, or stay frozen."""
    num_codes: int = 128
    """Codes of the image tokenizer."""
    tokenizer_blocks: int = 0
    """Residual blocks of the image tokenizer at each size."""
    tokenizer_epochs: int = 25
    """Passes over the training data for the image tokenizer."""
    tokenizer_learning_rate: float = 2e-3
    """Highest learning rate of the image tokenizer."""
    perceptual_weight: float = 0.1
    """Weight of the distance that the image encoder sees; 0 for pixels alone."""
    adversarial_weight: float = 0.1
    """Share of the gradient at the last layer that the discriminator gets; 0: none."""
    adversarial_start: float = 0.5
    """Part of the tokenizer's training after which the discriminator has a say."""
    hidden_dim: int = 128
    """Width of the transformer."""
    num_layers: int = 4
    """Blocks of the transformer."""
    caption_dropout: float = 0.1
    """How often a text is left out in training, for guidance."""
    guidance_scale: float = 2.5
    """How much more than in training the text counts in drawing; 1: not more."""
    temperature: float = 1.0
    """Of the drawing; less is closer to the likeliest picture."""
    top_p: float = 0.95
    """The likeliest codes that add up to this may be drawn."""
    pictures_per_text: int = 10
    """Pictures that are drawn of each text in the test."""
    epochs: int = 40
    """Passes over the training data for the transformer."""
    batch_size: int = 32
    """Examples in one step, over all devices together."""
    patience: int = 100
    """Validations without a better result after which the transformer stops."""


PRESETS = {
    "easy_vqa": Config(),
    "smoke": Config(
        data="shapes",
        output_dir="runs/text_to_image_smoke",
        image_size=32,
        sequence_length=8,
        num_codes=16,
        tokenizer_epochs=1,
        perceptual_weight=0.0,
        hidden_dim=16,
        num_layers=1,
        pictures_per_text=1,
        epochs=3,
        batch_size=16,
        learning_rate=5e-3,
        max_bad_fraction=0.0,
    ),
}


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building those that have a name."""
    directory = config.data
    if config.data == "easy_vqa":
        directory = pathlib.Path("data/easy_vqa_captions/1.0.0")
        if not directory.exists():
            tfrecords_tools.build_easy_vqa_captions(output_dir="data")
    elif config.data == "shapes":
        folder = pathlib.Path(config.output_dir, "data")
        directory = folder / "shapes/1.0.0"
        if not directory.exists():
            tfrecords_tools.build_manifest(
                manifest=kmmft.data.write_colored_shapes(folder / "pictures"),
                output_dir=folder,
                name="shapes",
                image_column="image",
                caption_column="caption",
                split_column="split",
            )
    return kmmft.data.open_source(directory, kmmft.data.schema.image_text())


def build_data(
    config: Config,
    source: kmmft.data.RecordSource,
    split: str,
    tokenizer: kmmft.models.ImageTokenizer,
    batch_preprocess,
    start_step: int | None = None,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Batches of pictures and texts; endless and shuffled if `start_step` is given."""
    reword = kmmft.data.TextAugmentation(caption_dropout_rate=config.caption_dropout)
    # Colours are what texts speak of, and so are shapes.
    change = kmmft.data.ImageAugmentation(
        crop_area=(config.smallest_crop, 1.0),
        crop_aspect_ratio=(1.0, 1.0),
        horizontal_flip=config.horizontal_flip,
        brightness=0.0,
        contrast=0.0,
        saturation=0.0,
    )

    def decode(record):
        return {
            "image": tokenizer.preprocess(record["image"]),
            "text": kmmft.data.choose_caption(record["captions"]),
        }

    def augment(record, seed):
        return {
            "image": change(record["image"], seed),
            "text": reword(record["text"], seed),
        }

    return kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=decode,
        augment=augment,
        batch_preprocess=batch_preprocess,
        **config.reading_from(start_step, input_context),
    )


def fit(config, source, tokenizer, model, run, batch_preprocess, epochs) -> float:
    """Trains one stage; returns its seconds."""
    return kmmft.training.resumable_fit(
        model,
        functools.partial(
            build_data, config, source, "train", tokenizer, batch_preprocess
        ),
        run=run,
        steps_per_epoch=kmmft.data.steps_per_epoch(source, "train", config.batch_size),
        epochs=epochs,
        validation_data=build_data(
            config, source, "validation", tokenizer, batch_preprocess
        ),
        monitor="val_loss",
        patience=config.patience,
    )


def train_tokenizer(
    config: Config, source: kmmft.data.RecordSource
) -> tuple[kmmft.models.ImageTokenizer, dict[str, float]]:
    """The first stage, in a run directory of its own."""
    steps = kmmft.data.steps_per_epoch(source, "train", config.batch_size)
    total = steps * config.tokenizer_epochs
    tokenizer = kmmft.models.ImageTokenizer(
        config.image_size,
        config.num_codes,
        code_dim=8,
        blocks=config.tokenizer_blocks,
    )
    perceptual = None
    if config.perceptual_weight:
        encoder = kmmft.encoders.ImageEncoder.from_preset(
            config.image_encoder, image_size=config.image_size
        )
        perceptual = kmmft.models.PerceptualDistance(encoder)
    tokenizer.compile(
        kmmft.training.adamw(config.tokenizer_learning_rate, total_steps=total),
        perceptual=perceptual,
        perceptual_weight=config.perceptual_weight,
        adversarial_weight=config.adversarial_weight,
        adversarial_start=int(config.adversarial_start * total),
    )
    folder = pathlib.Path(config.output_dir, "tokenizer")
    with kmmft.training.RunDirectory(folder, config, config.resume) as run:
        seconds = fit(
            config,
            source,
            tokenizer,
            tokenizer,
            run,
            lambda batch: {"image": batch["image"]},
            config.tokenizer_epochs,
        )
        best = min(run.history(), key=lambda row: row["val_loss"])
    return tokenizer, {
        "tokenizer/l1": best["val_l1"],
        "tokenizer/code_usage": best["usage"],
        "tokenizer/seconds": seconds,
    }


def train(
    config: Config,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
) -> tuple[kmmft.models.TextToImage, dict[str, float]]:
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.dtype_policy)
    with kmmft.training.make_strategy(config.strategy).scope():
        tokenizer, metrics = train_tokenizer(config, source)
        text_encoder = kmmft.encoders.TextEncoder.from_preset(
            config.text_encoder, sequence_length=config.sequence_length
        )
        text_encoder.trainable = config.train_text_encoder
        model = kmmft.models.TextToImage(
            text_encoder, tokenizer, config.hidden_dim, config.num_layers
        )
        steps = kmmft.data.steps_per_epoch(source, "train", config.batch_size)
        model.compile(
            kmmft.training.adamw(
                config.learning_rate,
                total_steps=steps * config.epochs,
                weight_decay=config.weight_decay,
            )
        )
    seconds = fit(
        config, source, tokenizer, model, run, model.prepare_batch, config.epochs
    )
    model.serving_settings = drawing_settings(config)
    metrics |= {"train/seconds": seconds}
    test = build_data(config, source, "test", tokenizer, model.prepare_batch)
    with warnings.catch_warnings():
        # Keras warns where data ends, if it did not know their length.
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        metrics["test/loss"] = model.evaluate(test, verbose=0)
    return model, metrics


def drawing_settings(config: Config) -> dict[str, float]:
    return {
        "guidance_scale": config.guidance_scale,
        "temperature": config.temperature,
        "top_p": config.top_p,
    }


def draw(
    config: Config,
    source: kmmft.data.RecordSource,
    model: kmmft.models.TextToImage,
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Pictures of each text of the test split, and as many real ones."""
    data = build_data(
        config, source, "test", model.image_tokenizer, lambda batch: batch
    )
    real = list(data.unbatch().as_numpy_iterator())
    texts = sorted({record["text"].decode() for record in real})
    texts = [text for text in texts for _ in range(config.pictures_per_text)]
    settings = drawing_settings(config)
    if config.ranker:
        settings["ranker"] = kmmft.models.load_dual_encoder(config.ranker)
        settings["candidates"] = config.candidates
    pictures = model.generate(texts, seed=config.seed, **settings)
    return texts, pictures, np.stack([record["image"] for record in real])


def judged(judge: str, pictures: np.ndarray) -> dict[str, list[str]]:
    """What a served VQA model answers about each picture."""
    ask = tf.saved_model.load(judge).signatures["serving_default"]
    answers = collections.defaultdict(list)
    for picture in pictures:
        png = tf.io.encode_png(picture)[None]
        for name, question in QUESTIONS.items():
            answer = ask(image=png, question=tf.constant([question]))["label"]
            answers[name].append(answer.numpy()[0].decode())
    return answers


def recognised(texts: list[str], answers: dict[str, list[str]]) -> dict[str, float]:
    """Shares of pictures whose shape and colour are those of their texts."""
    right = {
        name: np.array([a in t.split() for a, t in zip(found, texts, strict=True)])
        for name, found in answers.items()
    }
    right["shape_and_color"] = right["shape"] & right["color"]
    return {f"test/recognised/{name}": float(ok.mean()) for name, ok in right.items()}


def main(config: Config) -> dict[str, float]:
    """Trains both stages, draws, judges, reports and exports."""
    return kmmft.evaluation.show_run(config, run_once, result_table)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_data(config)
    with kmmft.data.clear_data_errors(source):
        model, metrics = train(config, source, run)
        texts, pictures, real = draw(config, source, model)
    answers = {}
    if config.judge:
        answers = judged(config.judge, pictures)
        metrics |= recognised(texts, answers)
    encoder = kmmft.encoders.ImageEncoder.from_preset(
        config.image_encoder, image_size=config.image_size
    )
    count = min(len(real), len(pictures))
    drawn, seen = (
        encoder.predict(some[:count].astype("float32"), verbose=0)["pooled"]
        for some in (pictures, real)
    )
    metrics["test/frechet_distance"] = kmmft.metrics.frechet_distance(drawn, seen)
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    if not (run.export / "1").exists():
        raw = {"text": texts[:2], "seed": np.arange(2, dtype="int32")}
        card = kmmft.export.ModelCard.from_run(
            run, "Pictures of texts", source, metrics
        )
        kmmft.export.export_bundle(model, run.export, raw, card=card, version=1)
    report(run, metrics, texts, pictures, answers)
    run.write_metrics(metrics)
    return metrics


def report(run, metrics, texts, pictures, answers) -> None:
    found = ["?"] * len(texts)
    if answers:
        pairs = zip(answers["color"], answers["shape"], strict=True)
        found = [f"a {color} {shape}" for color, shape in pairs]
    history = run.history()
    kmmft.evaluation.write_report(
        run.report,
        title="Pictures of texts",
        metrics=metrics,
        history={name: [row[name] for row in history] for name in ("loss", "val_loss")},
        examples=[
            Example(picture, text, text, answer)
            for picture, text, answer in zip(pictures, texts, found, strict=True)
        ],
        confusion=None,
        config=run.config,
        tables=[result_table(metrics)],
        notes=__doc__.split("\n", 1)[0],
    )


def result_table(metrics: dict[str, float]) -> Table:
    """What was measured of the drawn pictures."""
    names = {
        "test/recognised/shape_and_color": "shape and colour recognised",
        "test/recognised/shape": "shape recognised",
        "test/recognised/color": "colour recognised",
        "test/frechet_distance": "Fréchet distance to real pictures",
        "test/loss": "cross-entropy of a code, test pictures",
        "tokenizer/l1": "error of redrawn pictures (0 to 2)",
        "tokenizer/code_usage": "codes used in a batch",
    }
    rows = [[label, f"{metrics[k]:.4g}"] for k, label in names.items() if k in metrics]
    return Table("Drawn pictures", ["measured", "value"], rows)


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
