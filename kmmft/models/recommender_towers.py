"""The two towers of a recommender: items by their features, users by their items."""

from collections.abc import Mapping

import keras

from kmmft.layers import FrameTransformer, GatedFusion, Pooling, UnitLength


def item_tower(
    widths: Mapping[str, int],
    hidden_dim: int,
    dropout_rate: float,
    modality_dropout_rate: float,
) -> keras.Model:
    """Fuses the vectors of an item's modalities into one of length 1.

    Args:
        widths: Width of the vectors by modality.
        hidden_dim: Width of the result.
        dropout_rate: Dropout on the fused vector.
        modality_dropout_rate: How often a modality is hidden in training.

    Returns:
        A model of dicts, by modality `(batch, width)` and `<modality>_present`.
    """
    inputs, features, present = {}, {}, {}
    for name, width in widths.items():
        inputs[name] = keras.Input((width,), name=name)
        key = f"{name}_present"
        inputs[key] = present[name] = keras.Input((), dtype="bool", name=key)
        norm = keras.layers.LayerNormalization(name=f"{name}_norm")
        features[name] = {"pooled": norm(inputs[name])}
    fusion = GatedFusion(
        hidden_dim, dropout_rate, modality_dropout_rate, name="item_fusion"
    )
    x = fusion(features, present=present)
    x = keras.layers.Dense(hidden_dim, name="item_projection")(x)
    return keras.Model(inputs, UnitLength(dtype="float32")(x), name="item_tower")


def user_tower(
    hidden_dim: int, history_length: int, num_layers: int, dropout_rate: float
) -> keras.Model:
    """Makes one vector of length 1 of those of the items that a user chose.

    Args:
        hidden_dim: Width of the vectors.
        history_length: Number of items.
        num_layers: Blocks of the transformer over them; 0 for none.
        dropout_rate: Dropout in it.

    Returns:
        A model of dicts, `items` `(batch, history_length, hidden_dim)` and `mask`.
    """
    items = keras.Input((history_length, hidden_dim), name="items")
    mask = keras.Input((history_length,), dtype="bool", name="mask")
    x = items
    if num_layers:
        blocks = FrameTransformer(
            num_layers, dropout_rate=dropout_rate, name="user_transformer"
        )
        x = blocks(x, mask=mask)
    x = UnitLength(dtype="float32")(Pooling("mean")(x, mask=mask))
    return keras.Model({"items": items, "mask": mask}, x, name="user_tower")


def inputs_like(
    tower: keras.Model, prefix: str, *length: int
) -> dict[str, keras.KerasTensor]:
    """Symbolic inputs as a tower's, named `<prefix>_<name>`, perhaps several of each.

    Args:
        tower: Its inputs are a dict.
        prefix: What the names begin with.
        *length: How many of each there are in an example; nothing for one.

    Returns:
        `keras.Input`s by name.
    """
    return {
        f"{prefix}_{name}": keras.Input(
            (*length, *tensor.shape[1:]), dtype=tensor.dtype, name=f"{prefix}_{name}"
        )
        for name, tensor in tower.input.items()
    }
