"""What models with towers are made of: an encoder and a head for each modality."""

from collections.abc import Mapping

import keras

from kmmft.models.raw_inputs import batch_inputs, select_inputs


def encoder_inputs(encoder: keras.Model):
    """Symbolic inputs of one tower, in the structure of its encoder's."""
    return keras.tree.map_structure(
        lambda x: keras.Input(x.shape[1:], dtype=x.dtype, name=x.name), encoder.input
    )


def side_by_side(
    encoders: Mapping[str, keras.Model], towers: Mapping[str, keras.Model]
) -> tuple[dict, dict]:
    """Inputs and outputs of the functional model that holds all towers.

    Args:
        encoders: Encoders by modality.
        towers: The tower of each, which takes its encoder's inputs.

    Returns:
        Symbolic inputs by their names in the batch, and outputs by modality.
    """
    inputs = batch_inputs(encoders)
    outputs = {
        modality: tower(select_inputs(modality, encoders[modality], inputs))
        for modality, tower in towers.items()
    }
    return inputs, outputs


def check_micro_batch_size(size: int | None) -> None:
    """Raises a ValueError unless a micro-batch can be of this size."""
    if size is not None and size < 1:
        raise ValueError(
            "`micro_batch_size` must be positive or None. "
            f"Received: micro_batch_size={size}."
        )
