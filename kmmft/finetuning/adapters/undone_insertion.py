"""Takes adapters out again that were put in for a trial, or before an error."""

import contextlib
from collections.abc import Iterator

import keras

from kmmft.finetuning.adapters.adapted_layer import adapted_layers, remove
from kmmft.finetuning.adapters.inserted_adapters import forget_graphs
from kmmft.finetuning.named_parts import named_layers


@contextlib.contextmanager
def undone(model: keras.Model, only_on_error: bool = False) -> Iterator[None]:
    """After the `with` block the model has the adapters that it had before.

    Args:
        model: Built model.
        only_on_error: Whether those that the block puts in stay unless it raises.
    """
    before = {id(layer) for layer in adapted_layers(named_layers(model)).values()}
    inserted = getattr(model, "inserted_adapters", None)
    entries = list(inserted.entries) if inserted else []
    worked = False
    try:
        yield
        worked = True
    finally:
        if not (worked and only_on_error):
            after = adapted_layers(named_layers(model)).values()
            added = [layer for layer in after if id(layer) not in before]
            for layer in added:
                remove(layer)
            if inserted:
                inserted.entries[:] = entries
            else:
                vars(model).pop("inserted_adapters", None)
            if added:
                forget_graphs(model)
