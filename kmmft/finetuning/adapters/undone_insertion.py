"""Takes adapters out again where putting them in fails half way."""

import contextlib
from collections.abc import Iterator

import keras

from kmmft.finetuning.adapters.adapted_layer import adapted_layers, remove
from kmmft.finetuning.adapters.inserted_adapters import forget_graphs
from kmmft.finetuning.named_parts import named_layers


@contextlib.contextmanager
def undone_on_error(model: keras.Model) -> Iterator[None]:
    """If the `with` block raises, the model has the adapters that it had before."""
    before = {id(layer) for layer in adapted_layers(named_layers(model)).values()}
    inserted = getattr(model, "inserted_adapters", None)
    entries = list(inserted.entries) if inserted else []
    try:
        yield
    except BaseException:
        for layer in adapted_layers(named_layers(model)).values():
            if id(layer) not in before:
                remove(layer)
        if inserted:
            inserted.entries[:] = entries
        else:
            vars(model).pop("inserted_adapters", None)
        forget_graphs(model)
        raise
