"""Switches a model's weights between frozen and trained."""

from collections.abc import Collection, Iterable

import keras

from kmmft.finetuning.named_parts import named_layers
from kmmft.finetuning.planned_weights import trainable_weights


class Trainability:
    """Sets which of a model's weights train, and which layers know that none does.

    A layer all of whose weights are frozen gets `trainable=False`: a BatchNorm then
    keeps its statistics, and an encoder of kmmft runs in inference mode.

    Args:
        model: Built model.
        always_frozen: Layers that are frozen whatever their weights are.
    """

    def __init__(
        self, model: keras.Model, always_frozen: Iterable[keras.layers.Layer] = ()
    ):
        self.model = model
        self.always_frozen = list(always_frozen)
        can_train = trainable_weights(model)
        self.weights = [v for v in model.weights if id(v) in can_train]
        self.layers = [
            (layer, {id(v) for v in layer.weights if id(v) in can_train})
            for layer in named_layers(model).values()
        ]

    def set(self, training: Collection[int]) -> None:
        """Lets the weights of these ids train, and no others.

        The model's graphs know nothing of it: `make_train_function(force=True)`.
        """
        training = set(training)
        # Keras' setter sets all within too, so first what is open, then what is shut.
        # Each layer by itself: a value that a layer has already goes no further, so
        # that a trainable model would not reach the frozen layers within.
        for layer in (self.model, *(layer for layer, _ in self.layers)):
            layer.trainable = True
        for layer, own in self.layers:
            if own and not own & training:
                layer.trainable = False
        for layer in self.always_frozen:
            layer.trainable = False
        for variable in self.weights:
            variable.trainable = id(variable) in training
