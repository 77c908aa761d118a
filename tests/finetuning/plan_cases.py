"""A small model under a plan, and the same training written in NumPy."""

import keras
import numpy as np

import kmmft
from kmmft.finetuning import named_variables

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 4)).astype("float32")
Y = RNG.normal(size=(8, 1)).astype("float32")
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7


class CountedModel(kmmft.training.DistributedTraining, keras.Model):
    """Counts how often its train step was traced."""

    traces = 0

    def train_step(self, data):
        self.traces += 1
        return super().train_step(data)


def make_model(model_class=CountedModel, seed=1, **head):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(3, activation="tanh", name="backbone")(inputs)
    outputs = keras.layers.Dense(1, name="head", dtype="float32", **head)(x)
    return model_class(inputs, outputs)


def values(model):
    return {path: v.numpy() for path, v in named_variables(model).items()}


def gradients(weights, x, y):
    """Of the mean squared error of `make_model`, by hand."""
    hidden = np.tanh(x @ weights["backbone/kernel"] + weights["backbone/bias"])
    outputs = hidden @ weights["head/kernel"] + weights["head/bias"]
    d_outputs = 2 * (outputs - y) / len(x)
    d_hidden = d_outputs @ weights["head/kernel"].T * (1 - hidden**2)
    return {
        "backbone/kernel": x.T @ d_hidden,
        "backbone/bias": d_hidden.sum(0),
        "head/kernel": hidden.T @ d_outputs,
        "head/bias": d_outputs.sum(0),
    }


def train_in_numpy(start, settings, steps, rate, adam, batch_size=4):
    """Trains in float64 by the published formulas, each weight by its own settings.

    `settings` holds for each path a dict of `begins` (a step), `scale`, `decay`, `l2`,
    `l2_sp`, `fisher`, `pull` (L2-SP as a decay) and `kept` (a mask of the weights that
    are not pruned), each of which may be left out.
    """
    weights = {path: value.astype("float64") for path, value in start.items()}
    anchors = {path: value.copy() for path, value in weights.items()}
    moments = {path: (0.0, 0.0) for path in weights}
    for step in range(steps):
        rows = np.arange(batch_size) + step * batch_size % len(X)
        found = gradients(weights, X[rows], Y[rows])
        for path, gradient in found.items():
            own = settings.get(path, {})
            age = step - own.get("begins", 0) + 1
            if age < 1:
                continue
            weight, away = weights[path], weights[path] - anchors[path]
            gradient = gradient + 2 * own.get("l2", 0.0) * weight
            l2_sp = own.get("l2_sp", 0.0) * np.asarray(own.get("fisher", 1.0))
            gradient = gradient + 2 * l2_sp * away
            size = rate * own.get("scale", 1.0)
            decay = own.get("decay", 0.0) * weight + own.get("pull", 0.0) * away
            weight = weight - size * decay
            if adam:
                first, second = moments[path]
                first = BETA_1 * first + (1 - BETA_1) * gradient
                second = BETA_2 * second + (1 - BETA_2) * gradient**2
                moments[path] = first, second
                # The order of Kingma & Ba, end of section 2: epsilon is not corrected.
                correction = np.sqrt(1 - BETA_2**age) / (1 - BETA_1**age)
                gradient = correction * first / (np.sqrt(second) + EPSILON)
            weights[path] = (weight - size * gradient) * own.get("kept", 1)
    return weights


def optimizer(adam, rate, **options):
    if adam:
        return kmmft.training.AdamW(rate, weight_decay=0.0, **options)
    return kmmft.training.SGD(rate, **options)


def fit(model, epochs, batch_size=4, **options):
    """Two steps an epoch, unless the batch is another."""
    return model.fit(
        X, Y, batch_size, epochs=epochs, shuffle=False, verbose=0, **options
    )
