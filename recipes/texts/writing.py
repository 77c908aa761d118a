"""A text from a text: translation, summary, the next turn of a dialogue."""

import functools
import logging
import re

import keras_hub
import numpy as np
import tensorflow as tf

import kmmft
import tfrecords_tools
from kmmft.evaluation import Example, Table, WrittenTexts
from kmmft.models import FusionGenerator

from .records import all_records
from .settings import Config

logger = logging.getLogger(__name__)

# More cut targets than that are surely not meant.
MOST_CUT = 0.5
LOOKED_AT = 2000
ROWS = {
    "copy": "the text itself",
    "lead_3": "its first three sentences",
    "nearest": "what belongs to the nearest text",
    "test": "this model",
}
COLUMNS = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "exact_match": "exact",
}


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building them from the file."""
    config.check_data()
    directory = config.data or config.data_folder / "texts/1.0.0"
    if config.files and not directory.exists():
        build_records(config)
    source = kmmft.data.open_source(directory)
    if not {"text", "targets"} <= set(source.features):
        raise ValueError(
            "`--task write` needs records of kmmft.data.schema.text_to_text. Received: "
            f"{config.data}, records with {sorted(source.features)}."
        )
    return kmmft.data.check_splits(source)


def build_records(config: Config) -> None:
    columns = (config.text_column, config.target_column, config.split_column or None)
    manifest, share = config.files, 0.05
    if manifest == "templates":
        manifest = kmmft.data.write_template_texts(config.data_folder / "files").table
        columns, share = ("text", "reworded", None), 0.15
    text, target, split = columns
    tfrecords_tools.build_manifest(
        manifest=manifest,
        output_dir=config.data_folder,
        name="texts",
        text_column=text,
        target_text_column=target,
        turn_separator=config.turn_separator,
        split_column=split,
        validation_fraction=share,
        test_fraction=share,
        options=tfrecords_tools.BuildOptions(skip_bad=config.skip_bad),
    )


def build_data(
    config: Config,
    source: kmmft.data.RecordSource,
    split: str,
    model: FusionGenerator,
    start_step: int | None = None,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Batches to learn from; endless and shuffled if `start_step` is given."""

    def pair(record, seed=None):
        target = kmmft.data.choose_caption(record["targets"], seed)
        return {"text": record["text"], "target": target}

    training = start_step is not None
    return kmmft.data.build_dataset(
        source,
        split=split,
        # In training the target is chosen anew in each epoch.
        preprocess=(lambda record: record) if training else pair,
        augment=pair,
        batch_preprocess=model.prepare_batch,
        **config.reading_from(start_step, input_context),
    )


def build_model(config: Config, records: list[dict]) -> FusionGenerator:
    """A BART or T5 as a whole, or another encoder and a decoder from scratch."""
    options = {"max_length": config.target_length, "search": search(config)}
    if config.text_encoder == "scratch":
        encoder = small_encoder(config, records)
        tokenizer = encoder.tokenizer
    else:
        encoder = kmmft.encoders.TextEncoder.from_preset(
            config.text_encoder, config.sequence_length, keep=config.keep
        )
        encoder.trainable = config.train_text_encoder
        if isinstance(encoder.backbone, kmmft.encoders.Seq2SeqEncoder):
            return whole_model(config, options)
        targets = [text for record in records for text in record["targets"]]
        tokenizer = kmmft.encoders.learn_tokenizer(targets, config.vocabulary_size)
    decoder = kmmft.models.CrossAttentionDecoder(
        tokenizer.vocabulary_size(),
        config.hidden_dim,
        config.num_layers,
        config.num_heads,
        max_length=config.target_length,
        dropout_rate=config.dropout_rate,
    )
    return FusionGenerator(
        {"text": encoder}, decoder, tokenizer, target="target", **options
    )


def whole_model(config: Config, options: dict) -> FusionGenerator:
    """A pretrained encoder and its decoder."""
    model = FusionGenerator.from_preset(
        config.text_encoder, config.sequence_length, keep=config.keep, **options
    )
    model.encoders["text"].trainable = config.train_text_encoder
    return model


def small_encoder(config: Config, records: list[dict]) -> kmmft.encoders.TextEncoder:
    """A BERT with random weights, for the word pieces of the training texts."""
    texts = [
        text for record in records for text in (record["text"], *record["targets"])
    ]
    tokenizer = kmmft.encoders.learn_tokenizer(texts, config.vocabulary_size)
    backbone = keras_hub.models.BertBackbone(
        tokenizer.vocabulary_size(),
        config.num_layers,
        config.num_heads,
        config.hidden_dim,
        4 * config.hidden_dim,
        dropout=config.dropout_rate,
        max_sequence_length=config.sequence_length,
    )
    return kmmft.encoders.TextEncoder(
        backbone, tokenizer, config.sequence_length, pooling="mean", keep=config.keep
    )


def search(config: Config) -> kmmft.models.Greedy | kmmft.models.BeamSearch:
    if config.num_beams == 1:
        return kmmft.models.Greedy()
    return kmmft.models.BeamSearch(config.num_beams, config.length_penalty)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    source = open_data(config)
    metrics = {}
    with kmmft.data.clear_data_errors(source):
        learnt = records_of(config, source, "train")
        records = records_of(config, source, "test")

        def model_before_training():
            model = build_model(config, learnt)
            check_lengths(config, model, learnt)
            # Before training also because a metric that fails must not cost it.
            floors = find_floors(config, model, source, records)
            metrics.update(scores(config, floors))
            return model

        model, trained = kmmft.training.fit_classifier(
            config,
            run,
            model_before_training,
            functools.partial(build_data, config, source),
            kmmft.data.steps_per_epoch(source, "train", config.batch_size),
            monitor="val_loss",
        )
        written = kmmft.evaluation.write_about_records(
            model, source, "test", "targets", max_bad_fraction=config.max_bad_fraction
        )
    metrics |= scores(config, {"test": written}) | trained
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    finish(run, model, source, records, written, metrics)
    return metrics


def scores(config: Config, written: dict[str, WrittenTexts]) -> dict[str, float]:
    """Metrics of texts by what they are called, such as `nearest/bleu`."""
    return {
        f"{prefix}/{name}": value
        for prefix, texts in written.items()
        for name, value in kmmft.metrics.text_to_text_metrics(
            texts.texts, texts.references, config.bleu_tokenizer
        ).items()
    }


def finish(run, model, source, records, written, metrics) -> None:
    """Exports and reports."""
    run.write_model(model)
    if not (run.export / "1").exists():
        card = kmmft.export.ModelCard.from_run(run, "Texts from texts", source, metrics)
        raw = {"text": [record["text"] for record in records[:3]]}
        kmmft.export.export_bundle(model, run.export, raw, card=card, version=1)
    kmmft.evaluation.report_examples(
        run,
        show(records, written),
        title="Texts from texts",
        metrics=metrics,
        tables=[result_table(metrics)],
    )
    run.write_metrics(metrics)


def records_of(
    config: Config, source: kmmft.data.RecordSource, split: str
) -> list[dict]:
    """All records of a split, with targets as `str`."""
    records = all_records(config, source, split)
    for record in records:
        record["targets"] = [text.decode() for text in record["targets"]]
    return records


def check_lengths(config: Config, model: FusionGenerator, records: list[dict]) -> None:
    """Tells how many training texts are cut; raises if most of the targets are."""
    looked = records[:LOOKED_AT]
    targets = [text for record in looked for text in record["targets"]]
    lengths = model.text_lengths(targets)
    cut = float(np.mean(lengths > config.target_length))
    if cut > MOST_CUT:
        raise ValueError(
            "`--target_length` must hold most of the targets. Received: "
            f"{config.target_length}, where {cut:.0%} of them are longer; half have "
            f"more than {int(np.median(lengths)) - 1} tokens. Raise it."
        )
    if cut:
        logger.warning("%.1f %% of the training targets lose their end.", 100 * cut)


def find_floors(config, model, source, records) -> dict[str, WrittenTexts]:
    """Texts to be had without a model that writes."""
    floors = kmmft.evaluation.caption_floors(
        model,
        source,
        references="targets",
        max_bad_fraction=config.max_bad_fraction,
        modality="text",
    )
    texts = [record["text"] for record in records]
    leads = [" ".join(re.split(r"(?<=[.!?])\s+", text)[:3]) for text in texts]
    ids = [record["id"] for record in records]
    people = [record["targets"] for record in records]
    found = {"copy": WrittenTexts(ids, texts, people)}
    if leads != texts:
        found["lead_3"] = WrittenTexts(ids, leads, people)
    return found | {"nearest": floors["nearest"]}


def show(records: list[dict], written: WrittenTexts) -> list[Example]:
    """Texts with what was written, evenly over the split."""
    places = np.linspace(0, len(records) - 1, min(48, len(records))).astype(int)
    return [
        Example(
            None,
            records[row]["text"],
            written.texts[row]
            if written.texts[row] in written.references[row]
            else written.references[row][0],
            written.texts[row],
            id=written.ids[row],
        )
        for row in sorted(set(places))
    ]


def result_table(metrics: dict[str, float]) -> Table:
    """The test split's result among its floors."""
    rows = [
        [label, *(metrics[f"{prefix}/{column}"] for column in COLUMNS)]
        for prefix, label in ROWS.items()
        if f"{prefix}/bleu" in metrics
    ]
    return Table("Test split", ["", *COLUMNS.values()], rows, highlight=len(rows) - 1)
