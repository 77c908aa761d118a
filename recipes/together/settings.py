"""Settings of the model of several tasks, and its presets."""

import dataclasses

import kmmft

TASKS = ("match", "caption", "answer", "classify")
# How the tasks' losses are weighed: arguments of `kmmft.models.MultiTask`.
WEIGHTINGS = {
    "equal": dict,
    "uncertainty": lambda: {"loss_weights": kmmft.models.UncertaintyWeights()},
    "grad_norm": lambda: {"loss_weights": kmmft.models.GradNorm()},
    "pcgrad": lambda: {"project_conflicts": True},
}


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.RecipeConfig):
    """Settings of one run."""

    data: str = ""
    """easy_vqa for the data of the pip package easy-vqa; shapes for small pictures that
    are drawn on the spot; empty for the three directories below."""
    pairs: str = ""
    """TFDS directory of images with captions, to match and to caption."""
    questions: str = ""
    """TFDS directory of questions about images, to answer."""
    labelled: str = ""
    """TFDS directory of labelled images, to classify."""
    output_dir: str = "runs/multi_task"
    """Directory of the run. The same command goes on with a run that was killed."""
    tasks: str = ",".join(TASKS)
    """Tasks to learn together, two or more of match, caption, answer and classify,
    comma-separated."""
    weighting: str = "equal"
    """How the losses are weighed: equal, uncertainty or grad_norm; pcgrad weighs them
    equally and takes conflicts out of their gradients."""
    patience: int = 3
    """Validations without a lower loss after which training stops. With uncertainty
    and grad_norm all epochs are run, and the last one's weights are kept: where the
    losses' weights change, their sum is no measure of progress."""
    epochs: int = 5
    """How many times `--steps_per_epoch` steps are made."""
    steps_per_epoch: int = 100
    """Optimizer steps of an epoch, each with `--batch_size` examples of every task."""
    hidden_dim: int = 256
    """Width of the common space, of the fusion and of the decoder."""
    num_layers: int = 2
    """Blocks of the decoder."""
    num_heads: int = 4
    """Attention heads of the decoder."""
    dropout_rate: float = 0.1
    """Dropout in decoder and heads."""
    compare_seeds: int = 0
    """Number of seeds to compare one model of all tasks with a model for each, after
    the same steps with the same examples; 0 for no comparison."""
    compare: str = "equal"
    """Ways of weighing to compare, comma-separated."""

    def __post_init__(self):
        super().__post_init__()
        tasks = self.task_names()
        if len(tasks) < 2 or len(set(tasks)) < len(tasks) or set(tasks) - set(TASKS):
            raise ValueError(
                f"`--tasks` must be two or more of {', '.join(TASKS)}, each once. "
                f"Received: {self.tasks!r}."
            )
        if self.weighting not in WEIGHTINGS:
            raise ValueError(
                f"`--weighting` must be one of {', '.join(WEIGHTINGS)}. "
                f"Received: {self.weighting!r}."
            )
        compared = self.compare.split(",")
        if set(compared) - set(WEIGHTINGS) or len(set(compared)) < len(compared):
            raise ValueError(
                f"`--compare` must be of {', '.join(WEIGHTINGS)}, each once. "
                f"Received: {self.compare!r}."
            )
        if self.compare_seeds < 0 or self.steps_per_epoch < 1:
            raise ValueError(
                "`--steps_per_epoch` must be at least 1 and `--compare_seeds` not "
                f"negative. Received: {self.steps_per_epoch} and "
                f"{self.compare_seeds}."
            )

    def task_names(self) -> list[str]:
        return self.tasks.split(",")


PRESETS = {
    "default": Config(),
    "easy_vqa": Config(
        data="easy_vqa",
        output_dir="runs/multi_task_easy_vqa",
        train_text_encoder=False,
        image_size=64,
        sequence_length=14,
        epochs=2,
        batch_size=32,
    ),
    "smoke": Config(
        data="shapes",
        output_dir="runs/multi_task_smoke",
        train_image_encoder=False,
        train_text_encoder=False,
        image_size=64,
        sequence_length=12,
        steps_per_epoch=20,
        epochs=4,
        batch_size=16,
        learning_rate=1e-2,
        hidden_dim=64,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        max_bad_fraction=0.0,
    ),
}
