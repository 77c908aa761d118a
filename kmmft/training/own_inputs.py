"""A model's inputs out of a batch that holds more."""

from collections.abc import Mapping

import keras


def own_inputs(model: keras.Model, x):
    """What a functional model takes of a batch's inputs.

    Keras takes the entries of a dict by their order, not by their names, if there are
    others among them, such as those of options of the train step.

    Args:
        model: Any model; only the inputs of one with a dict of inputs are chosen.
        x: A batch's inputs.

    Returns:
        `x`, or a dict of the entries of `x` that are the model's.
    """
    names = getattr(model, "input", None)
    if isinstance(names, Mapping) and isinstance(x, Mapping):
        return {name: x[name] for name in names if name in x}
    return x
