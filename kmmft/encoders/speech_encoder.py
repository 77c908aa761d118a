"""The encoder half of a speech recogniser."""

import keras
import keras_hub

from kmmft.encoders.encoder_half import EncoderHalf


@keras.saving.register_keras_serializable("kmmft")
class SpeechEncoder(EncoderHalf):
    """The encoder of a Whisper or Moonshine backbone, without the decoder's weights.

    Shares its layers with `backbone`, which may be thrown away. Whisper attends to the
    pause that fills up a short sound, as it was trained to; Moonshine does not, though
    its first norm is over the whole length.

    Args:
        backbone: A `keras_hub.models.WhisperBackbone` or `MoonshineBackbone`.

    Call arguments:
        inputs: dict of `features`, float `(batch, frames, num_mels)` for Whisper and
            `(batch, samples, 1)` for Moonshine, and `padding_mask`, bool
            `(batch, frames)`, True marks real ones, which stand first.

    Returns:
        dict of `tokens` float `(batch, num_tokens, hidden_dim)` and `mask` bool
        `(batch, num_tokens)`.

    Raises:
        ValueError: If `backbone` has no such encoder half.

    Example:
        >>> whisper = keras_hub.models.WhisperBackbone(9, 1, 2, 8, 16)
        >>> encoder = kmmft.encoders.SpeechEncoder(whisper)
        >>> outputs = encoder({
        ...     "features": np.zeros((2, 10, 80)),
        ...     "padding_mask": np.ones((2, 10), bool),
        ... })
        >>> outputs["tokens"].shape, outputs["mask"].shape
        (TensorShape([2, 5, 8]), TensorShape([2, 5]))
    """

    def __init__(self, backbone: keras.Model, **kwargs):
        if not isinstance(
            backbone,
            keras_hub.models.WhisperBackbone | keras_hub.models.MoonshineBackbone,
        ):
            raise ValueError(
                "`backbone` must be a WhisperBackbone or a MoonshineBackbone. "
                f"Received: backbone of type {type(backbone).__name__}."
            )
        is_whisper = isinstance(backbone, keras_hub.models.WhisperBackbone)
        # === Functional model ===
        depth = backbone.num_mels if is_whisper else 1
        features = keras.Input((None, depth), dtype="float32", name="features")
        padding_mask = keras.Input((None,), dtype="bool", name="padding_mask")
        if is_whisper:
            encoder = keras.Model(
                backbone.input["encoder_features"],
                backbone.output["encoder_sequence_output"],
                name="encoder",
            )
            tokens = encoder(features)
            # Token t stands around frame 2t.
            mask = padding_mask[:, ::2]
        else:
            names = ("encoder_input_values", "encoder_padding_mask")
            outputs = ("encoder_sequence_output", "encoder_attention_mask")
            encoder = keras.Model(
                {name: backbone.input[name] for name in names},
                [backbone.output[name] for name in outputs],
                name="encoder",
            )
            tokens, mask = encoder(
                dict(zip(names, (features, padding_mask), strict=True))
            )
        super().__init__(
            inputs={"features": features, "padding_mask": padding_mask},
            outputs={"tokens": tokens, "mask": mask},
            **kwargs,
        )
        # === Config ===
        self._keep_config(backbone)
        self.takes_waveform = not is_whisper
        # Frames that Whisper has positions for.
        self.max_frames = backbone.max_encoder_sequence_length if is_whisper else None
