"""Inputs that come with a mask or without: frames of videos and of sounds."""

from collections.abc import Mapping

import keras
from keras import ops


def with_mask(
    inputs: keras.KerasTensor | Mapping, modality: str
) -> dict[str, keras.KerasTensor]:
    """Adds the mask that marks all frames as real, where there is none.

    Args:
        inputs: A tensor `(batch, frames, ...)`, or a dict of it as `<modality>` and
            perhaps of `<modality>_mask`, bool `(batch, frames)`.
        modality: Its name.

    Returns:
        dict of `<modality>` and `<modality>_mask`.
    """
    if not isinstance(inputs, Mapping):
        inputs = {modality: inputs}
    values, mask = inputs[modality], inputs.get(f"{modality}_mask")
    # Keras takes no NumPy array beside a tensor.
    if not isinstance(values, keras.KerasTensor):
        values = ops.convert_to_tensor(values, "float32")
    if mask is None:
        first = (0,) * (len(values.shape) - 2)
        mask = ops.ones_like(values[(..., *first)], "bool")
    elif not isinstance(mask, keras.KerasTensor):
        mask = ops.convert_to_tensor(mask, "bool")
    return {modality: values, f"{modality}_mask": mask}
