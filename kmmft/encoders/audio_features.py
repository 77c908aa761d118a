"""Reads token sequences and their masks out of audio backbones."""

import keras
import keras_hub
from keras import ops

from kmmft.layers import LogMel, SpecAugment


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


def input_width(backbone: keras.Model) -> int:
    """Bands of the spectrogram that a backbone takes; 1 for a waveform."""
    inputs = getattr(backbone, "input", None)
    inputs = inputs.get("features") if isinstance(inputs, dict) else inputs
    return getattr(inputs, "shape", (1,))[-1]


def check_lengths(
    backbone: keras.Model,
    log_mel: LogMel | None,
    sample_rate: int,
    audio_seconds: float,
    num_samples: int,
    frames: int,
) -> None:
    """Raises a ValueError unless the backbone can take sounds of this length."""
    if log_mel is not None and log_mel.sample_rate != sample_rate:
        raise ValueError(
            "`sample_rate` must be that of `log_mel`. Received: sample_rate="
            f"{sample_rate}, log_mel.sample_rate={log_mel.sample_rate}. Leave it out."
        )
    takes_waveform = getattr(backbone, "takes_waveform", log_mel is None)
    if takes_waveform != (log_mel is None):
        raise ValueError(
            f"The backbone takes {'waveforms' if takes_waveform else 'spectrograms'}. "
            f"Received: log_mel={log_mel}. Use `AudioEncoder.from_backbone`, which "
            "knows what it needs."
        )
    least = log_mel.window // 2 + 1 if log_mel else 1
    most = getattr(backbone, "max_frames", None) or frames
    if num_samples < least or frames < 1 or frames > most:
        raise ValueError(
            f"`audio_seconds` must make {least} samples or more, and no more than the "
            f"{most} frames that the backbone has positions for. Received: "
            f"audio_seconds={audio_seconds}, which makes {num_samples} samples and "
            f"{frames} frames."
        )


def check_masking(spec_augment: SpecAugment | None, log_mel: LogMel | None) -> None:
    """Raises a ValueError if there is a mask for spectrograms, but none of them."""
    if spec_augment is not None and log_mel is None:
        raise ValueError(
            "`spec_augment` masks spectrograms. Received: a backbone of waveforms. "
            "Leave it out (--no_spec_augment)."
        )
