"""Examples as the encoders see them, with the labels that are known."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

import kmmft
from kmmft.metrics import unit_vectors

from .settings import Config


@dataclasses.dataclass(frozen=True)
class LabelledExamples:
    """A split in memory.

    Attributes:
        ids: Ids of the records.
        examples: What `kmmft.evaluation.frozen_features` gives; labels are numbers of
            classes, -1 where none is known.
        vectors: float32 `(examples, dim)`, for core sets: the encoders' pooled vectors
            of length 1 beside each other, zeros for what is missing.
    """

    ids: np.ndarray
    examples: kmmft.data.Examples
    vectors: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        return self.examples.labels


def build_model(
    config: Config, source: kmmft.data.RecordSource, class_names: Sequence[str]
) -> kmmft.models.FusionClassifier:
    """The classifier of images, of texts or of both."""
    encoders = {}
    if "image" in source.features:
        encoders["image"] = kmmft.encoders.ImageEncoder.from_preset(
            config.image_encoder, image_size=config.image_size
        )
        encoders["image"].trainable = config.train_image_encoder
    if "text" in source.features:
        encoders["text"] = kmmft.encoders.TextEncoder.from_preset(
            config.text_encoder, sequence_length=config.sequence_length
        )
        encoders["text"].trainable = config.train_text_encoder
    return with_encoders(config, encoders, class_names)


def with_encoders(
    config: Config, encoders: Mapping, class_names: Sequence[str]
) -> kmmft.models.FusionClassifier:
    """A new classifier above encoders that are there."""
    both = len(encoders) > 1
    return kmmft.models.FusionClassifier(
        encoders,
        fusion=kmmft.layers.GatedFusion(config.hidden_dim) if both else None,
        class_names=class_names,
        dropout_rate=config.dropout_rate,
        missing_modalities=both,
    )


def encode_split(
    config: Config,
    source: kmmft.data.RecordSource,
    split: str,
    model: kmmft.models.FusionClassifier,
    label_of: Mapping[str, str],
) -> LabelledExamples:
    """Runs the frozen encoders over a split.

    Args:
        config: The settings.
        source: The records.
        split: Name of the split.
        model: The classifier.
        label_of: Names of classes by id, as far as they are known.
    """

    def prepare(batch: dict) -> tuple[dict, tf.Tensor]:
        inputs, _ = model.prepare_batch(batch)
        return inputs, batch["id"]

    dataset = kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=model.decode_record,
        batch_preprocess=prepare,
        batch_size=64,
        training=False,
        max_bad_fraction=config.max_bad_fraction,
    )
    with kmmft.data.clear_data_errors(source):
        found = kmmft.evaluation.frozen_features(model, dataset)
    ids = np.array([name.decode() for name in found.labels], object)
    numbers = {name: number for number, name in enumerate(model.class_names)}
    labels = [numbers.get(label_of.get(name, ""), -1) for name in ids]
    examples = kmmft.data.Examples(found.inputs, np.array(labels, np.int64))
    return LabelledExamples(ids, examples, pooled_vectors(model, examples))


def pooled_vectors(
    model: kmmft.models.FusionClassifier, examples: kmmft.data.Examples
) -> np.ndarray:
    """The encoders' pooled vectors beside each other, each of length 1."""
    parts = []
    for name, encoder in model.encoders.items():
        vectors = examples.inputs.get(f"{name}_pooled")
        if vectors is None:  # the inputs of an encoder that is trained
            inputs = model.select(name, examples.inputs)
            vectors = encoder.predict(inputs, batch_size=64, verbose=0)["pooled"]
        vectors = unit_vectors(name, vectors)
        if model.missing_modalities:
            vectors = vectors * examples.inputs[f"{name}_present"][:, None]
        parts.append(vectors)
    return np.concatenate(parts, axis=1)
