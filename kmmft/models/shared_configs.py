"""Configs of models that share layers, so that they share them again."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
from keras.src.backend.common import global_state
from keras.src.saving.serialization_lib import ObjectSharingScope


def mark_shared(config, layers: Sequence[keras.layers.Layer]) -> None:
    """Marks in a config, in place, which parts of it are one layer.

    Keras does so too, but marks every part save the first, which is a copy by then.

    Args:
        config: What `serialize_keras_object` returned, or a structure of such.
        layers: Layers that stand in it several times. No other may be of the same
            class and name.
    """
    ids = {(type(layer).__name__, layer.name): id(layer) for layer in layers}

    def mark(part) -> None:
        if isinstance(part, dict):
            own = part.get("config")
            name = own.get("name") if isinstance(own, dict) else None
            if (part.get("class_name"), name) in ids:
                part["shared_object_id"] = ids[part["class_name"], name]
            part = list(part.values())
        for inner in part if isinstance(part, list | tuple) else ():
            mark(inner)

    mark(config)


@contextlib.contextmanager
def sharing() -> Iterator[None]:
    """Makes marked parts one layer while configs are turned into objects.

    `keras.saving.load_model` does so itself; a call of `from_config` does not.
    """
    # Keras' scope, which is private, forgets the one around it.
    if global_state.get_global_attribute("shared_objects/id_to_obj_map") is not None:
        yield
        return
    with ObjectSharingScope():
        yield
