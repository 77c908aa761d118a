"""Reads token sequences and their masks out of audio backbones."""

import keras
import keras_hub
from keras import ops


def audio_features(
    backbone: keras.Model, features: keras.KerasTensor, padding_mask: keras.KerasTensor
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Calls an audio backbone; see `kmmft.encoders.AudioEncoder` for its kinds.

    Where it gives no mask of its own, tokens are taken to stand evenly over the frames,
    and one whose first frame is real to be real.

    Args:
        backbone: The backbone.
        features: float `(batch, frames, width)`.
        padding_mask: bool `(batch, frames)`, True marks real frames.

    Returns:
        Tokens `(batch, num_tokens, dim)` and their mask `(batch, num_tokens)`.

    Raises:
        ValueError: If it is no audio backbone.
    """
    inputs = getattr(backbone, "input", None)
    if inputs is None or isinstance(backbone, keras_hub.models.Backbone):
        raise ValueError(
            "`backbone` must be a SpeechEncoder, a SoundBackbone, or a functional "
            "`keras.Model` from outside KerasHub; `AudioEncoder.from_backbone` takes "
            "the encoder out of a WhisperBackbone or MoonshineBackbone. "
            f"Received: backbone of type {type(backbone).__name__}."
        )
    given = {"features": features, "padding_mask": padding_mask}
    if isinstance(inputs, dict):
        outputs = backbone({name: given[name] for name in inputs})
    else:
        outputs = backbone(features)
    if isinstance(outputs, dict):
        return outputs["tokens"], outputs["mask"]
    if len(outputs.shape) == 2:
        mask = ops.any(padding_mask, axis=1, keepdims=True)
        return ops.expand_dims(outputs, 1), mask
    frames, tokens = features.shape[1], outputs.shape[1]
    first = [token * frames // tokens for token in range(tokens)]
    return outputs, ops.take(padding_mask, first, axis=1)
