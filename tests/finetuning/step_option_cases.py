"""Tiny models for the options of train steps, and a look at what they are given."""

import keras
import numpy as np
import tensorflow as tf

import kmmft
from tests.models import contrastive_cases

TEXT = "text_encoder/*embedding*"
X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
CLASSES = np.array([0, 1, 1, 0])
RATE = 0.3


class Model(kmmft.training.DistributedTraining, keras.Model):
    """A plain functional model with the mixin."""


class Spy(kmmft.training.StepOption):
    """Innermost, it notes what every forward pass gets. For eager steps."""

    def __init__(self):
        self.batches, self.parts = [], []

    def wrap(self, model, forward):
        def run(batch, part=0):
            self.batches.append(batch)
            self.parts.append(part)
            return forward(batch, part)

        return run


class Seen(keras.layers.Layer):
    """Notes what passes through. For eager steps."""

    def build(self, shape):
        self.values = []

    def call(self, inputs):
        if tf.executing_eagerly():
            self.values.append(inputs)
        return inputs


def linear(outputs=1, strategy=None, before=(), **kwargs):
    """x W + b, with the same first weights every time."""
    with (strategy or tf.distribute.get_strategy()).scope():
        inputs = keras.Input((3,), name="x")
        h = inputs
        for layer in before:
            h = layer(h)
        model = Model(inputs, keras.layers.Dense(outputs, name="dense", **kwargs)(h))
    start = np.random.default_rng(1)
    model.set_weights([start.normal(size=w.shape) for w in model.get_weights()])
    return model


def fit(model, options, x, y=None, *, steps=3, loss=None, eager=False, optimizer=None):
    """Trains on one batch; returns the losses of the steps."""
    data = tf.data.Dataset.from_tensors(x if y is None else (x, y)).repeat(steps)
    with model.distribute_strategy.scope():
        model.step_options = options
        optimizer = optimizer() if optimizer else keras.optimizers.SGD(RATE)
        kwargs = {} if loss is None else {"loss": loss}
        model.compile(optimizer, run_eagerly=eager, **kwargs)
    history = model.fit(data, steps_per_epoch=1, epochs=steps, verbose=0)
    return history.history["loss"]


def softmax_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def classifier(dropout_rate=0.0, strategy=None):
    """A fusion classifier of images and texts."""
    keras.utils.set_random_seed(3)
    with (strategy or tf.distribute.get_strategy()).scope():
        return kmmft.models.FusionClassifier(
            {
                "image": contrastive_cases.image_encoder(dropout_rate),
                "text": contrastive_cases.text_encoder(),
            },
            kmmft.layers.ConcatFusion(hidden_dim=5),
            class_names=["no", "yes"],
            dropout_rate=dropout_rate,
        )


def dual_encoder(dropout_rate=0.0, strategy=None):
    """A dual encoder of images and texts."""
    with (strategy or tf.distribute.get_strategy()).scope():
        return contrastive_cases.dual_encoder(dropout_rate)


KINDS = {"classifier": classifier, "dual_encoder": dual_encoder}


def fit_kind(kind, options, *, strategy=None, steps=3, dropout_rate=0.0, **kwargs):
    """Trains a kmmft model of images and texts; returns losses and weights."""
    model = KINDS[kind](dropout_rate, strategy)
    y = contrastive_cases.GROUPS
    y = y % 2 if kind == "classifier" else y
    options = options(model) if callable(options) else options
    losses = fit(model, options, contrastive_cases.batch(), y, steps=steps, **kwargs)
    return losses, [v.numpy() for v in model.trainable_variables]


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def kl(target, output):
    """KL(target || output) of logits, the mean over the rows."""
    target, output = log_softmax(target), log_softmax(output)
    return (np.exp(target) * (target - output)).sum(-1).mean()


def cross_entropy(logits, classes):
    return -log_softmax(logits)[np.arange(len(classes)), classes].mean()


def numeric_gradient(function, weights, step=1e-5):
    """Central differences in float64."""
    weights = weights.astype("float64")
    gradient = np.zeros_like(weights)
    for place in np.ndindex(weights.shape):
        moved = [weights.copy(), weights.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        gradient[place] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return gradient
