"""Any audio backbone as an encoder with one contract."""

from collections.abc import Sequence

import keras
import keras_hub
import tensorflow as tf
from keras import ops

from kmmft import data
from kmmft.data.audio import SILENT_WAV, fit_length
from kmmft.encoders.audio_features import (
    audio_features,
    check_lengths,
    check_masking,
    input_width,
)
from kmmft.encoders.features import pooled_tokens
from kmmft.encoders.frozen_layers import FrozenInference, freeze_as_configured
from kmmft.encoders.masked_inputs import with_mask
from kmmft.encoders.presets import load_audio_backbone
from kmmft.encoders.sound_backbone import SoundBackbone
from kmmft.encoders.speech_encoder import SpeechEncoder
from kmmft.layers import LogMel, SpecAugment


@keras.saving.register_keras_serializable("kmmft")
class AudioEncoder(FrozenInference, keras.Model):
    """Encodes sounds as one pooled vector and a sequence of tokens in time.

    Owns its preprocessing: `preprocess` decodes WAV files, brings them to one rate and
    length, and computes the spectrogram, if the backbone takes one. The mask marks the
    tokens of the sound; those of the silence that fills it up never reach the pooled
    vector, except as `SpeechEncoder` says. If `trainable` is False, the encoder
    runs in inference mode, without `spec_augment` too.

    Args:
        backbone: A `SpeechEncoder`, a `SoundBackbone`, or a functional `keras.Model`:
            its input is a spectrogram `(batch, frames, num_mels)`, or a dict of that
            as `features` and of `padding_mask`; its output is a token sequence, a
            vector, or a dict of `tokens` and `mask`. Without `log_mel` it takes
            waveforms `(batch, samples, 1)` instead.
        audio_seconds: Length of a sound. `preprocess` cuts longer ones, and fills up
            shorter ones with silence.
        log_mel: Makes the spectrogram; `None` for a backbone of waveforms.
        sample_rate: Samples a second; default: those of `log_mel`, else 16,000.
        pooling: `"mean"`, `"max"`, `"last"` or `"cls"`, of the real tokens.
        spec_augment: Masks spectrograms in training.
        projection: Layer applied to the pooled vector.

    Call arguments:
        inputs: dict of `audio`, float `(batch, frames, num_mels)` (without `log_mel`
            `(batch, samples, 1)`), and `audio_mask`, bool `(batch, frames)`, True
            marks real ones. `audio` alone stands for one that fills its length.

    Returns:
        dict of `pooled` float `(batch, output_dim)`, `tokens` float
        `(batch, num_tokens, dim)` and `mask` bool `(batch, num_tokens)`.

    Raises:
        ValueError: If `backbone` is no audio encoder, or `audio_seconds` is too short
            for one frame or too long for the backbone.

    Example:
        >>> encoder = kmmft.encoders.AudioEncoder.from_scratch(
        ...     audio_seconds=1, filters=(4, 4), hidden_dim=8)
        >>> wav = tf.audio.encode_wav(tf.zeros((8000, 1)), 16000)
        >>> inputs = encoder.preprocess(tf.stack([wav, wav]))
        >>> outputs = encoder(inputs)
        >>> outputs["pooled"].shape, outputs["tokens"].shape
        (TensorShape([2, 8]), TensorShape([2, 25, 8]))
        >>> int(tf.reduce_sum(tf.cast(outputs["mask"][0], "int32")))
        13

    References:
        - [Radford et al., 2022](https://arxiv.org/abs/2212.04356), section 2.2
          (Whisper's encoder).
    """

    # In a batch, the modality stands for this part of the inputs' names.
    input_name = "audio"
    blank_file = SILENT_WAV
    # Why a file cannot be decoded, as its header tells.
    fault = staticmethod(data.wav_fault)

    def __init__(
        self,
        backbone: keras.Model,
        audio_seconds: float,
        log_mel: LogMel | None = None,
        sample_rate: int | None = None,
        pooling: str = "mean",
        spec_augment: SpecAugment | None = None,
        projection: keras.layers.Layer | None = None,
        name: str = "audio_encoder",
        **kwargs,
    ):
        check_masking(spec_augment, log_mel)
        sample_rate = sample_rate or (log_mel.sample_rate if log_mel else 16000)
        num_samples = round(audio_seconds * sample_rate)
        frames = num_samples // log_mel.stride if log_mel else num_samples
        check_lengths(
            backbone, log_mel, sample_rate, audio_seconds, num_samples, frames
        )
        # === Functional model ===
        depth = log_mel.num_mels if log_mel else 1
        audio = keras.Input((frames, depth), dtype="float32", name="audio")
        audio_mask = keras.Input((frames,), dtype="bool", name="audio_mask")
        features = audio
        if spec_augment is not None:
            features = spec_augment(audio, mask=audio_mask)
        tokens, mask = audio_features(backbone, features, audio_mask)
        pooled = pooled_tokens(tokens, mask, pooling)
        if projection is not None:
            pooled = projection(pooled)
        super().__init__(
            inputs={"audio": audio, "audio_mask": audio_mask},
            outputs={"pooled": pooled, "tokens": tokens, "mask": ops.copy(mask)},
            name=name,
            **kwargs,
        )
        # === Config ===
        self.backbone = backbone
        self.audio_seconds = audio_seconds
        self.log_mel = log_mel
        self.sample_rate = sample_rate
        self.pooling = pooling
        self.spec_augment = spec_augment
        self.projection = projection
        self.num_samples = num_samples
        self.output_dim = pooled.shape[-1]

    @classmethod
    def from_backbone(
        cls, backbone: keras.Model, audio_seconds: float | None = None, **kwargs
    ) -> "AudioEncoder":
        """From a backbone, or from the encoder of a speech recogniser.

        Args:
            backbone: As in the constructor, or a KerasHub `WhisperBackbone` or
                `MoonshineBackbone`, whose encoder is taken.
            audio_seconds: As in the constructor. Default: as long as Whisper was
                trained for, 30; for others 10.
            **kwargs: Further arguments of `AudioEncoder`. `log_mel` defaults to what
                Whisper takes, or for other spectrograms to Whisper's with as many
                bands as the backbone takes.
        """
        models = keras_hub.models
        if isinstance(backbone, models.WhisperBackbone | models.MoonshineBackbone):
            backbone = SpeechEncoder(backbone, name="speech_encoder")
        width = input_width(backbone)
        if "log_mel" not in kwargs and width > 1:
            kwargs["log_mel"] = LogMel(num_mels=width)
        if audio_seconds is None:
            audio_seconds = 10
            log_mel = kwargs.get("log_mel")
            if log_mel and getattr(backbone, "max_frames", None):
                audio_seconds = backbone.max_frames * log_mel.stride
                audio_seconds /= log_mel.sample_rate
        return cls(backbone, audio_seconds, **kwargs)

    @classmethod
    def from_preset(
        cls,
        handle: str,
        audio_seconds: float | None = None,
        load_weights: bool = True,
        **kwargs,
    ) -> "AudioEncoder":
        """From a pretrained model's name or directory.

        Args:
            handle: A KerasHub preset of Whisper or Moonshine: its name, `hf://...`,
                `kaggle://...` or a local directory.
            audio_seconds: As in `from_backbone`.
            load_weights: False gives the architecture with random weights.
            **kwargs: Further arguments of `AudioEncoder`. The preset's own audio
                converter, if it has one, tells `log_mel` or `sample_rate`.

        Raises:
            ValueError: If there is no such model, or it is no audio encoder.
        """
        backbone, options = load_audio_backbone(handle, load_weights)
        return cls.from_backbone(backbone, audio_seconds, **{**options, **kwargs})

    @classmethod
    def from_scratch(
        cls,
        audio_seconds: float,
        log_mel: LogMel | None = None,
        filters: Sequence[int] = (32, 64, 128),
        hidden_dim: int = 128,
        num_layers: int = 0,
        num_heads: int | None = None,
        dropout_rate: float = 0.0,
        **kwargs,
    ) -> "AudioEncoder":
        """A small network with random weights: see `SoundBackbone`.

        Args:
            audio_seconds: As in the constructor.
            log_mel: Likewise; default: Whisper's spectrogram.
            filters: As for `SoundBackbone`, as the four that follow: `num_layers` of
                0 is a convolutional network.
            **kwargs: Further arguments of `AudioEncoder`.
        """
        log_mel = log_mel or LogMel()
        backbone = SoundBackbone(
            round(audio_seconds * log_mel.sample_rate) // log_mel.stride,
            log_mel.num_mels,
            filters,
            hidden_dim,
            num_layers,
            num_heads,
            dropout_rate,
        )
        return cls(backbone, audio_seconds, log_mel, **kwargs)

    def preprocess(self, audio: tf.Tensor) -> dict[str, tf.Tensor]:
        """Decodes sounds and computes spectrograms. Works in `tf.data` and exported.

        Args:
            audio: string tensor of WAV files, a scalar or `(batch,)`: see
                `kmmft.data.decode_audio`. Or waveforms at the encoder's rate, float
                `(samples,)` or `(batch, samples)`.

        Returns:
            dict of the inputs `audio` and `audio_mask`, without a batch axis if
            `audio` has none.
        """
        audio = tf.convert_to_tensor(audio)
        one = audio.shape.rank == (0 if audio.dtype == tf.string else 1)
        audio = audio[tf.newaxis] if one else audio
        if audio.dtype == tf.string:
            waveform, mask = self._decode(audio)
        else:
            waveform, mask = fit_length(audio, self.num_samples)
        if self.log_mel is None:
            inputs = {"audio": waveform[..., tf.newaxis], "audio_mask": mask}
        else:
            # The frame around the sample `number * stride`.
            frames = self.input["audio_mask"].shape[1]
            mask = mask[:, :: self.log_mel.stride][:, :frames]
            inputs = {"audio": self.log_mel(waveform), "audio_mask": mask}
        return {key: value[0] for key, value in inputs.items()} if one else inputs

    def _decode(self, audio: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shape = [self.num_samples]
        return tf.map_fn(
            lambda one: data.decode_audio(one, self.sample_rate, self.num_samples),
            audio,
            fn_output_signature=(
                tf.TensorSpec(shape, tf.float32),
                tf.TensorSpec(shape, tf.bool),
            ),
        )

    def __call__(self, inputs, *args, **kwargs):
        return super().__call__(with_mask(inputs, "audio"), *args, **kwargs)

    def get_config(self) -> dict:
        layers = {key: getattr(self, key) for key in _LAYERS}
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "trainable": self.trainable,
            "audio_seconds": self.audio_seconds,
            "sample_rate": self.sample_rate,
            "pooling": self.pooling,
            **{key: serialize(layer) for key, layer in layers.items()},
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        config = dict(config)
        for key in _LAYERS:
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects=custom_objects
            )
        return freeze_as_configured(cls(**config))


_LAYERS = ("backbone", "log_mel", "spec_augment", "projection")
