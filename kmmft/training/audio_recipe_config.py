"""The settings that the recipes on sounds share."""

import dataclasses

from kmmft.encoders import AudioEncoder
from kmmft.layers import SpecAugment
from kmmft.training.recipe_config import RecipeConfig, check_one_source


@dataclasses.dataclass(frozen=True)
class AudioEncoderConfig(RecipeConfig):
    """Flags that say how a recipe listens."""

    audio_encoder: str = "small"
    """KerasHub preset of Whisper or Moonshine, hf://..., kaggle://..., or a local
    directory; small: a convolutional network that knows nothing yet."""
    train_audio_encoder: bool = True
    """Whether the audio encoder's weights are trained, or stay frozen."""
    audio_seconds: float = 5.0
    """What is heard of a sound; shorter ones are filled up with silence."""
    hidden_dim: int = 128
    """Width of the small network's tokens, and of its last convolution."""
    num_layers: int = 0
    """Transformer blocks above the small network's convolutions."""
    spec_augment: bool = True
    """Whether parts of the training spectrograms are masked; Moonshine has none."""

    def build_audio_encoder(self) -> AudioEncoder:
        """The encoder that these flags name.

        Raises:
            ValueError: If there is no such model, or it cannot hear that long.

        Example:
            >>> kmmft.training.AudioEncoderConfig().build_audio_encoder().output_dim
            128
        """
        options = {"audio_seconds": self.audio_seconds}
        if self.spec_augment:
            # The paper's masks are for sounds of some 10 seconds.
            options["spec_augment"] = SpecAugment(max_time_share=0.2)
        if self.audio_encoder == "small":
            width = self.hidden_dim
            encoder = AudioEncoder.from_scratch(
                filters=(width // 4, width // 2, width),
                hidden_dim=width,
                num_layers=self.num_layers,
                **options,
            )
        else:
            encoder = AudioEncoder.from_preset(self.audio_encoder, **options)
        encoder.trainable = self.train_audio_encoder
        return encoder


@dataclasses.dataclass(frozen=True)
class AudioRecipeConfig(AudioEncoderConfig):
    """Flags of every recipe on sounds; a recipe's own `Config` adds its own."""

    manifest: str = ""
    """CSV, TSV or JSONL file of sounds, in place of --data; tones: sounds that are made
    on the spot."""
    audio_column: str = "audio"
    """Column of paths of sounds, relative to the file."""
    split_column: str = ""
    """Column of train, validation and test; without one, by a hash."""
    group_column: str = ""
    """Column of what must not be torn apart, such as a speaker."""

    def check_data(self) -> None:
        """Raises a ValueError unless there is one source of data."""
        check_one_source(manifest=self.manifest, data=self.data)
