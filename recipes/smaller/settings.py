"""Settings of distillation, and its presets."""

import dataclasses

import kmmft


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.RecipeConfig):
    """Settings of one run. `image_size`, `sequence_length` and encoders are those of a
    teacher that is trained here; a given one has its own."""

    data: str = "easy_vqa"
    """TFDS directory; easy_vqa for the data of the pip package easy-vqa; shapes for
    small pictures that are drawn on the spot."""
    output_dir: str = "runs/distill"
    """Directory of the run. The same command goes on with a run that was killed."""
    teacher: str = "runs/quickstart"
    """Run directory of recipes.visual_question_answering, or a .keras file; empty to
    train one first."""
    text_layers: int = 3
    """Layers of the student's text transformer, taken evenly from the teacher's; 0 for
    all."""
    image_layers: int = 0
    """Likewise of an image transformer."""
    image_cut: str = "block4c_add"
    """Layer of the teacher's image backbone with which the student's ends; empty for
    the whole backbone."""
    hidden_sparsity: float = 0.0
    """Share of the hidden units in the transformers' feed-forwards that go."""
    hidden_dim: int = 256
    """Width of the fusion layer."""
    head_dim: int = 128
    """Width of the layer between fusion and answers."""
    dropout_rate: float = 0.1
    """Dropout in the head."""
    distillation_weight: float = 1.0
    """Weight of what the teacher says, beside 1 for the answers."""
    temperature: float = 2.0
    """Softens both models' probabilities; with more, small ones count more."""
    labelled_fraction: float = 1.0
    """Share of the training records whose answers the students are told, another one
    with each seed. What the others ask, the teacher answers, and the student without a
    teacher does not see them."""
    unlabelled: str = ""
    """TFDS directory of more images and questions for the teacher to answer. Their own
    answers are not read and may be empty."""
    unlabelled_share: float = 0.75
    """Share of a batch that the teacher alone answers, where there are such records."""
    seeds: int = 1
    """How often both students are trained, with a seed more each time. The first one
    is reported and exported; the table shows the accuracy's mean and deviation."""
    horizontal_flip: bool = True
    """Whether training images are mirrored at random."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("text_layers", "image_layers"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"`--{name}` must not be negative. Received: {getattr(self, name)}."
                )
        if self.distillation_weight < 0 or not self.temperature > 0:
            raise ValueError(
                "`--distillation_weight` must not be negative, and `--temperature` "
                f"must be positive. Received: {self.distillation_weight} and "
                f"{self.temperature}."
            )
        if self.seeds < 1:
            raise ValueError(f"`--seeds` must be at least 1. Received: {self.seeds}.")
        if not 0 < self.labelled_fraction <= 1 or not 0 < self.unlabelled_share < 1:
            raise ValueError(
                "`--labelled_fraction` must be in (0, 1] and `--unlabelled_share` in "
                f"(0, 1). Received: {self.labelled_fraction} and "
                f"{self.unlabelled_share}."
            )
        has_others = self.unlabelled or self.labelled_fraction < 1
        if has_others and self.labelled_rows == self.batch_size:
            raise ValueError(
                "A batch must hold examples that the teacher alone answers. Received: "
                f"--unlabelled_share {self.unlabelled_share} of --batch_size "
                f"{self.batch_size}, which is none. Raise one of them."
            )
        if not 0 <= self.hidden_sparsity < 1:
            raise ValueError(
                f"`--hidden_sparsity` must be in [0, 1). "
                f"Received: {self.hidden_sparsity}."
            )

    @property
    def labelled_rows(self) -> int:
        """Examples of a batch with an answer, where there are others."""
        return max(round(self.batch_size * (1 - self.unlabelled_share)), 1)


PRESETS = {
    "quickstart": Config(
        train_text_encoder=False,
        image_size=64,
        sequence_length=12,
        epochs=1,
        validations_per_epoch=4,
        learning_rate=2e-3,
    ),
    # Few answers, and a student whose every layer is in the first half of the teacher.
    "few_labels": Config(
        output_dir="runs/distill_few_labels",
        train_text_encoder=False,
        text_layers=1,
        image_cut="block3b_add",
        labelled_fraction=0.05,
        hidden_dim=128,
        head_dim=64,
        image_size=64,
        sequence_length=12,
        epochs=25,
        patience=25,
        learning_rate=2e-3,
    ),
    "smoke": Config(
        data="shapes",
        output_dir="runs/distill_smoke",
        teacher="",
        image_cut="block3b_add",
        text_layers=1,
        train_text_encoder=False,
        image_size=64,
        sequence_length=12,
        hidden_dim=64,
        head_dim=64,
        dropout_rate=0.0,
        epochs=3,
        batch_size=16,
        learning_rate=3e-3,
        max_bad_fraction=0.0,
    ),
}
