"""The two ways to answer: a classifier of known answers, a decoder that writes."""

import tensorflow as tf

import kmmft

from ..writers.pretrained import pretrained_writer
from .settings import FUSIONS, Config

Model = kmmft.models.FusionClassifier | kmmft.models.FusionGenerator
Answers = kmmft.evaluation.Predictions | kmmft.evaluation.WrittenAnswers


def build_model(config: Config, answers: kmmft.data.Vocabulary) -> Model:
    """The model of `config.head`; `answers` are those of training records."""
    if config.pretrained_writer:
        return pretrained_writer(config, **_writing(config))
    encoders = _encoders(config)
    fusion = FUSIONS[config.fusion](config.hidden_dim) if len(encoders) > 1 else None
    if config.head == "generate":
        return _generator(config, encoders, fusion, answers)
    return kmmft.models.FusionClassifier(
        encoders,
        fusion=fusion,
        class_names=answers.entries,
        hidden_dims=(config.head_dim,),
        dropout_rate=config.dropout_rate,
    )


def answer_all(
    config: Config, model: Model, dataset: tf.data.Dataset
) -> tuple[Answers, list[str]]:
    """Answers all records of a data set.

    Returns:
        The answers, and the names of their classes.
    """
    if config.head == "generate":
        written = kmmft.evaluation.write_answers(model, dataset)
        return written, written.class_names
    predictions = kmmft.evaluation.predict_records(model, dataset).with_unknown_class()
    return predictions, predictions.class_names(model.class_names)


def _encoders(config: Config) -> dict:
    encoders = {}
    if config.use_image:
        encoders["image"] = kmmft.encoders.ImageEncoder.from_preset(
            config.image_encoder, image_size=config.image_size
        )
        encoders["image"].trainable = config.train_image_encoder
    if config.use_question:
        encoders["question"] = kmmft.encoders.TextEncoder.from_preset(
            config.text_encoder, sequence_length=config.sequence_length
        )
        encoders["question"].trainable = config.train_text_encoder
    return encoders


def _generator(
    config: Config,
    encoders: dict,
    fusion: kmmft.layers.Fusion | None,
    answers: kmmft.data.Vocabulary,
) -> kmmft.models.FusionGenerator:
    reader = encoders.get("question") or kmmft.encoders.TextEncoder.from_preset(
        config.text_encoder, load_weights=False
    )
    tokenizer = kmmft.encoders.shrink_tokenizer(reader.tokenizer, answers.entries)
    decoder = kmmft.models.CrossAttentionDecoder(
        tokenizer.vocabulary_size(),
        config.head_dim,
        config.num_layers,
        config.num_heads,
        max_length=config.answer_length,
        dropout_rate=config.dropout_rate,
    )
    return kmmft.models.FusionGenerator(
        encoders, decoder, tokenizer, fusion=fusion, **_writing(config)
    )


def _writing(config: Config) -> dict:
    beams = config.num_beams
    return {
        "max_length": config.answer_length,
        "target": "answer",
        "search": kmmft.models.BeamSearch(beams) if beams > 1 else None,
    }
