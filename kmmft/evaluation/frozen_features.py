"""What frozen encoders give, computed once for many short trainings above them."""

import keras
import numpy as np
import tensorflow as tf

from kmmft.data import Examples
from kmmft.evaluation.missing_modalities import Subset, modality_subsets
from kmmft.evaluation.predictions import Predictions
from kmmft.models import FusionClassifier


def frozen_features(model: FusionClassifier, dataset: tf.data.Dataset) -> Examples:
    """Runs the frozen encoders of a classifier over a split.

    Encoders whose `trainable` is True do not run: their inputs are kept.

    Args:
        model: A classifier with a fusion layer.
        dataset: Batches of `(inputs, label)` that come to an end.

    Returns:
        `Examples` whose inputs are those of `head_on_features`.

    Raises:
        ValueError: If the dataset is empty.
    """

    @tf.function(reduce_retracing=True)
    def encode(inputs):
        found = {k: v for k, v in inputs.items() if k.endswith("_present")}
        for modality, encoder in model.encoders.items():
            own = model.select(modality, inputs)
            if encoder.trainable:
                found |= {name: inputs[name] for name in model.input_names_of(modality)}
                continue
            features = encoder(own, training=False)
            for key in _read(model, modality):
                found[f"{modality}_{key}"] = features[key]
        return found

    return Examples.collect(dataset.map(lambda inputs, label: (encode(inputs), label)))


def head_on_features(model: FusionClassifier, examples: Examples) -> keras.Model:
    """What stands above the frozen encoders, as a model with the classifier's weights.

    Trained with Keras' own `fit` on one device, in seconds where the whole model takes
    minutes; the classifier then is trained too.

    Args:
        model: The classifier.
        examples: What `frozen_features` returned.

    Returns:
        `keras.Model` from these inputs to logits, with dropout as the classifier's.

    Example::

        train = kmmft.evaluation.frozen_features(model, train_batches)
        head = kmmft.evaluation.head_on_features(model, train)
        head.compile("adamw", model.default_loss())
        head.fit(dict(train.inputs), train.labels, epochs=20)
    """
    inputs = {
        name: keras.Input(value.shape[1:], dtype=str(value.dtype), name=name)
        for name, value in examples.inputs.items()
    }
    features = {}
    for modality, encoder in model.encoders.items():
        if encoder.trainable:
            features[modality] = encoder(model.select(modality, inputs))
        else:
            keys = _read(model, modality)
            features[modality] = {key: inputs[f"{modality}_{key}"] for key in keys}
    present = None
    if model.missing_modalities:
        present = {name: inputs[f"{name}_present"] for name in model.encoders}
    return keras.Model(inputs, model.classify_features(features, present))


def predict_subsets_of_features(
    model: FusionClassifier, head: keras.Model, examples: Examples
) -> dict[Subset, Predictions]:
    """As `predict_subsets`, of features that are computed already.

    Args:
        model: The classifier.
        head: What `head_on_features` made of it.
        examples: What `frozen_features` returned for the split.

    Returns:
        `Predictions` by subset.
    """
    found = {}
    for subset in modality_subsets(list(model.encoders)):
        inputs = dict(examples.inputs)
        for name in model.encoders:
            key = f"{name}_present"
            inputs[key] = inputs[key] & (name in subset)
        given = np.any([inputs[f"{name}_present"] for name in subset], axis=0)
        # Eagerly: tracing takes longer than so few small layers.
        rows = tf.data.Dataset.from_tensor_slices(inputs).batch(256)
        logits = np.concatenate([head(batch, training=False) for batch in rows])
        found[subset] = Predictions(
            keras.ops.convert_to_numpy(keras.ops.softmax(logits)),
            {"label": examples.labels, "given": given},
        )
    return found


def _read(model: FusionClassifier, modality: str) -> tuple[str, ...]:
    """The outputs of an encoder that the fusion reads."""
    if model.fusion is not None and model.fusion.source(modality) == "tokens":
        return ("tokens", "mask")
    return ("pooled",)
