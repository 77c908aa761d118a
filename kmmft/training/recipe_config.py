"""The settings that all training recipes share."""

import dataclasses
from typing import Any

import tensorflow as tf

from kmmft.training.strategies import check_strategy


@dataclasses.dataclass(frozen=True)
class RecipeConfig:
    """Flags of every training recipe; a recipe's own `Config` adds its own."""

    data: str = ""
    """TFDS directory, or glob of its shards."""
    output_dir: str = "runs/recipe"
    """Directory of the run. The same command goes on with a run that was killed."""
    image_encoder: str = "demo"
    """KerasHub preset, hf://..., kaggle://..., a local preset, Hugging Face or
    SavedModel directory, or demo: EfficientNet-Lite0 trained on ImageNet."""
    text_encoder: str = "demo"
    """Likewise; demo: the sentence encoder all-MiniLM-L6-v2."""
    train_image_encoder: bool = True
    """Whether the image encoder's weights are trained, or stay frozen."""
    train_text_encoder: bool = True
    """Whether the text encoder's weights are trained, or stay frozen."""
    image_size: int = 224
    """Height and width of the images in pixels."""
    sequence_length: int = 32
    """Tokens of a text, special tokens included."""
    epochs: int = 5
    """Passes over the training data."""
    validations_per_epoch: int = 1
    """How often a pass is interrupted for validation, checkpoint and curves."""
    patience: int = 3
    """Validations without a better result after which training stops."""
    batch_size: int = 64
    """Examples in one step, over all devices together."""
    learning_rate: float = 1e-3
    """Highest learning rate of AdamW."""
    weight_decay: float = 1e-4
    """Decoupled weight decay."""
    max_bad_fraction: float = 1e-3
    """Share of records that may be unreadable and are skipped; beyond, an error."""
    skip_bad: bool = False
    """Whether bad rows of the files that records are built of are left out, as
    run.log tells; otherwise the first one is an error."""
    seed: int = 0
    """Seed of weights, order and augmentation."""
    strategy: str = "auto"
    """auto, one_device, mirrored or multi_worker. With multi_worker the same command
    runs on each host of the environment variable TF_CONFIG. Worker 0 keeps its run in
    output_dir, worker K in output_dir/workers/K."""
    dtype_policy: str = "float32"
    """Keras dtype policy, such as mixed_bfloat16."""
    data_service: str = ""
    """Address of a tf.data.service dispatcher, grpc://host:port, whose workers read and
    preprocess the training data. Then their order is not exact, and a record that
    cannot be read ends the run. Empty: each host reads its own."""
    resume: bool = True
    """Whether to go on with the run in output_dir."""

    def __post_init__(self):
        check_strategy(self.strategy)
        for name in (
            "image_size",
            "sequence_length",
            "epochs",
            "validations_per_epoch",
            "patience",
            "batch_size",
        ):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`--{name}` must be at least 1. Received: {getattr(self, name)}."
                )

    def reading(self, training: bool) -> dict[str, Any]:
        """What these flags say to `kmmft.data.build_dataset`.

        Args:
            training: Whether it is training data that is read; other data are read by
                this process in any case.

        Returns:
            Keyword arguments.

        Example:
            >>> kmmft.training.RecipeConfig().reading(training=True)
            {'seed': 0, 'max_bad_fraction': 0.001}
        """
        options = {"seed": self.seed, "max_bad_fraction": self.max_bad_fraction}
        if training and self.data_service:
            options |= {"data_service": self.data_service, "on_error": "raise"}
        return options

    def reading_from(
        self,
        start_step: int | None,
        input_context: tf.distribute.InputContext | None = None,
    ) -> dict[str, Any]:
        """What a recipe's data function passes on to `kmmft.data.build_dataset`.

        Args:
            start_step: The step to begin with, as `resumable_fit` gives it; `None`
                for data that are read once, in order.
            input_context: Likewise; which host reads.

        Returns:
            Keyword arguments, also those of `reading`.

        Example:
            >>> kmmft.training.RecipeConfig(batch_size=8).reading_from(5)["start_step"]
            5
        """
        training = start_step is not None
        return {
            "batch_size": self.batch_size,
            "training": training,
            "start_step": start_step or 0,
            "input_context": input_context,
            **self.reading(training),
        }

    def rounds(self, steps_per_epoch: int) -> tuple[int, int]:
        """Cuts the training into the stretches between two validations.

        All are equally long, so the last few steps of an epoch may be left out. There
        are no more of them than steps.

        Args:
            steps_per_epoch: Optimizer steps of one pass over the training data.

        Returns:
            Steps of one stretch, and the number of stretches in all.

        Example:
            >>> kmmft.training.RecipeConfig(epochs=2).rounds(10)
            (10, 2)
        """
        stretches = min(self.validations_per_epoch, steps_per_epoch)
        return steps_per_epoch // stretches, self.epochs * stretches


def check_one_source(**flags: str) -> None:
    """Raises unless exactly one of some flags is given, such as those of the data.

    Args:
        **flags: Values by name; empty ones are not given.

    Raises:
        ValueError: If none or several are given.

    Example:
        >>> kmmft.training.check_one_source(manifest="pairs.csv", data="")
    """
    if sum(map(bool, flags.values())) != 1:
        names = " or ".join(f"`--{name}`" for name in flags)
        received = ", ".join(f"{name}={value!r}" for name, value in flags.items())
        raise ValueError(f"Either {names} must be given. Received: {received}.")
