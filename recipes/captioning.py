"""Trains a model that writes captions of pictures.

Data: `--data DIR`, records of `kmmft.data.schema.image_text`, or `--manifest FILE`, a
CSV, TSV or JSONL file with a column of image paths and one of captions; the captions of
one image are its references. The preset easy_vqa takes the pictures of the pip package
easy-vqa, with captions made from its questions ("a blue circle"); open_clip_art takes
2,100 drawings from two Debian packages (`apt-get install openclipart-png
openclipart-svg`), whose captions are their titles, and their titles with tags. Metrics
need `pip install kmmft[text_metrics]`.

    python -m recipes.captioning --preset smoke
    python -m recipes.captioning --preset easy_vqa
    python -m recipes.captioning --preset coca
    python -m recipes.captioning --preset open_clip_art --self_critical_epochs 5
    python -m recipes.captioning --manifest pairs.csv --decoder gpt2_base_en
    python -m recipes.captioning --manifest pairs.csv --lora_rank 8 \
        --pretrained_writer pali_gemma_3b_224 --dtype_policy bfloat16 --batch_size 4 \
        --learning_rate 1e-4

The preset easy_vqa takes 5 CPU minutes. Of 880 test pictures its captions reach BLEU-1
99.9 % and CIDEr-D 7.48 (7.5 is the most for three words), where the nearest picture's
captions have 96.8 % and 6.84. The preset open_clip_art trains for 6 minutes. Of 252
test pictures its captions reach ROUGE-L 11.6 % and CIDEr-D 0.181, where the nearest
picture's have 9.9 % and 0.281: 1,672 titles, most of them used once, are too few to
learn to write, and copying a near-duplicate's title finds whole phrases.

The decoder is a small transformer from scratch that writes in the word pieces of the
training captions, or with `--decoder` a GPT-2 of KerasHub with the picture as prefix.
`--pretrained_writer` takes a whole PaliGemma, BLIP-2, or Gemma 3 that sees images,
instead, at best with `--lora_rank 8` and `--dtype_policy bfloat16`: the weights of a
PaliGemma of 3 billion take 5.9 GB then, and what training adds is what the batch takes.
`--model coca` also learns to compare images with texts, and the table then tells
retrieval too; `--contrastive_weight 0` or `--caption_weight 0` leaves a loss out.
Rates of 1e-3 suit it; at 1e-2 it does not learn the colours of the smoke preset.
With `--self_critical_epochs` the model then learns by the CIDEr-D of what it writes,
and keeps the weights that are best on the validation split.

The table shows the model among its floors: the most frequent training caption, and the
caption of the training picture that is nearest by the image encoder before training.
The served model takes image bytes and returns strings; a coca's signatures are
`caption`, `encode_image`, `encode_text` and `rank`.
"""

import functools

import keras

import kmmft
from kmmft.evaluation import Table

from .captions.comparing import compare
from .captions.data import build_data
from .captions.models import Model, build_model
from .captions.self_critical import learn_by_reward
from .captions.settings import PRESETS, Config
from .pairs.records import open_pairs

ROWS = {
    "most_frequent": "most frequent caption",
    "nearest": "caption of the nearest picture",
    "cross_entropy": "this model, by cross-entropy alone",
    "test": "this model",
}


def train(
    config: Config,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
) -> tuple[Model, dict[str, float]]:
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.dtype_policy)
    steps, rounds = config.rounds(
        kmmft.data.steps_per_epoch(source, "train", config.batch_size)
    )
    captions = kmmft.data.list_captions(source, "train", on_error="skip")
    with kmmft.training.make_strategy(config.strategy).scope():
        model = build_model(config, captions)
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


def write(
    config: Config, source: kmmft.data.RecordSource, model: Model, prefix: str
) -> tuple[kmmft.evaluation.WrittenTexts, dict[str, float]]:
    """Captions of the test split, and their metrics under names with a prefix."""
    written = kmmft.evaluation.write_about_records(
        model, source, "test", max_bad_fraction=config.max_bad_fraction
    )
    return written, {f"{prefix}/{k}": v for k, v in written.metrics().items()}


def train_and_test(
    config: Config,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
) -> tuple[Model, kmmft.evaluation.WrittenTexts, dict[str, float]]:
    model, metrics = train(config, source, run)
    if config.self_critical_epochs:
        metrics |= write(config, source, model, "cross_entropy")[1]
        metrics |= learn_by_reward(config, source, model)
    written, scores = write(config, source, model, "test")
    metrics |= scores
    if config.model == "coca":
        found = compare(config, source, model)
        metrics |= {f"test/{name}": value for name, value in found.items()}
    return model, written, metrics


def export(
    config: Config,
    source: kmmft.data.RecordSource,
    run: kmmft.training.RunDirectory,
    model: Model,
    metrics: dict[str, float],
) -> None:
    records = kmmft.data.first_records(source, "test", 3, on_error="skip")
    raw = {"image": [record["image"] for record in records]}
    if config.model == "coca":
        raw["text"] = [record["captions"][0] for record in records]
    elif model.search.draws:
        raw["seed"] = [config.seed] * len(records)
    card = kmmft.export.ModelCard.from_run(run, "Captioning", source, metrics)
    kmmft.export.export_bundle(model, run.export, raw, card=card, version=1)


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports and exports; returns what metrics.json holds."""
    return kmmft.evaluation.show_run(config, run_once, result_table)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_pairs(config)
    with kmmft.data.clear_data_errors(source):
        model, written, metrics = train_and_test(config, source, run)
    if config.lora_rank:
        kmmft.finetuning.merge_adapters(model)
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    run.write_model(model)
    if not (run.export / "1").exists():
        export(config, source, run, model, metrics)
    tables = [result_table(metrics)]
    if config.model == "coca":
        tables.append(kmmft.evaluation.retrieval_table(metrics, {"test": ROWS["test"]}))
        kmmft.evaluation.print_table(tables[-1])
    kmmft.evaluation.report_texts(
        run,
        written,
        title="Captioning",
        source=source,
        split="test",
        metrics=metrics,
        tables=tables,
        notes=__doc__.split("\n", 1)[0],
    )
    run.write_metrics(metrics)
    return metrics


def result_table(metrics: dict[str, float]) -> Table:
    """The test split's result among its floors."""
    rows = {key: name for key, name in ROWS.items() if f"{key}/cider_d" in metrics}
    return kmmft.evaluation.caption_table(metrics, rows)


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
