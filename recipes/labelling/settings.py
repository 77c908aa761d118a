"""Settings of active learning, and its presets."""

import dataclasses

from kmmft.evaluation import UNCERTAINTIES

METHODS = ("random", *UNCERTAINTIES, "core_set")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of one project of labelling, or of a simulation."""

    csv: str = ""
    """CSV, TSV, JSONL or Parquet file of examples, of which some have a label; shapes:
    small pictures that are drawn on the spot."""
    data: str = ""
    """For --simulate, in place of --csv: TFDS directory of labelled examples, or
    open_clip_art: eight kinds of drawings with their titles."""
    image_column: str = "image"
    """Column of image paths, relative to the file; empty for none."""
    text_column: str = "text"
    """Column of texts; empty for none."""
    label_column: str = "label"
    """Column of class names, empty where there is no label yet."""
    id_column: str = ""
    """Column of ids; without one, the number of the line, which must not change."""
    split_column: str = ""
    """Column of train and test. What is for test is never chosen; if it has labels,
    every round is tested on it. Without one, all is for training; with --simulate, a
    fifth is for test."""
    class_names: tuple[str, ...] = ()
    """Names of the classes. Default: the labels of the file or, where it has none, of
    the rounds."""
    skip_bad: bool = False
    """Whether bad rows of the files, such as those with a broken image, are left out,
    as run.log tells; otherwise the first one is an error."""
    output_dir: str = "runs/active_learning"
    """Directory of the project, with the files to label."""
    choose_by: str = "entropy"
    """random, entropy, margin, least_confidence or core_set. The first labels are
    chosen by core_set in any case."""
    count: int = 50
    """Examples to label in each round."""
    simulate: bool = False
    """Whether to compare ways of choosing, on examples whose labels are all known."""
    methods: tuple[str, ...] = METHODS
    """For --simulate: the ways of choosing; random must be among them."""
    start: int = 50
    """For --simulate: labels to begin with, drawn at random."""
    rounds: int = 5
    """For --simulate: how often labels are added."""
    seeds: int = 3
    """For --simulate: repetitions, each with other first labels and another head."""
    image_encoder: str = "demo"
    """KerasHub preset, hf://..., kaggle://..., a local preset, Hugging Face or
    SavedModel directory, or demo: EfficientNet-Lite0 trained on ImageNet."""
    text_encoder: str = "demo"
    """Likewise; demo: the sentence encoder all-MiniLM-L6-v2."""
    train_image_encoder: bool = False
    """Whether the image encoder's weights are trained too. Then the decoded images are
    held in memory, in place of their features."""
    train_text_encoder: bool = False
    """Whether the text encoder's weights are trained too."""
    image_size: int = 128
    """Height and width of the images in pixels."""
    sequence_length: int = 32
    """Tokens of a text, special tokens included."""
    hidden_dim: int = 256
    """Width of the fusion layer, where there are images and texts."""
    dropout_rate: float = 0.1
    """Dropout in the head."""
    steps: int = 300
    """Optimizer steps of each training."""
    batch_size: int = 32
    """Examples in one step."""
    learning_rate: float = 3e-3
    """Highest learning rate of AdamW."""
    weight_decay: float = 1e-2
    """Decoupled weight decay."""
    max_bad_fraction: float = 1e-3
    """Share of records that may be unreadable and are skipped; beyond, an error."""
    seed: int = 0
    """Seed of weights and order, and the first one of a simulation."""
    resume: bool = True
    """Whether to go on with the project in output_dir."""

    def __post_init__(self):
        # They come back from JSON, of which `--config` reads them, as lists.
        for name in ("class_names", "methods"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("count", "start", "rounds", "seeds", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`--{name}` must be at least 1. Received: {getattr(self, name)}."
                )
        self._check_methods()

    def _check_methods(self) -> None:
        unknown = sorted({self.choose_by, *self.methods} - set(METHODS))
        if unknown:
            raise ValueError(
                "`--choose_by` and `--methods` must be of "
                f"{', '.join(METHODS)}. Received: {unknown}."
            )
        if "random" not in self.methods:
            raise ValueError(
                "`--methods` must hold random, with which the others are compared. "
                f"Received: {', '.join(self.methods)}."
            )

    def check_data(self) -> None:
        """Raises a ValueError unless there is one source of data with inputs."""
        if bool(self.csv) == bool(self.data) or (self.data and not self.simulate):
            raise ValueError(
                "Either `--csv` or, with `--simulate`, `--data` must be given. "
                f"Received: csv={self.csv!r}, data={self.data!r}, "
                f"simulate={self.simulate}."
            )
        if self.csv and not self.image_column and not self.text_column:
            raise ValueError(
                "`--image_column`, `--text_column` or both must be given. Received: "
                "neither."
            )


PRESETS = {
    "default": Config(),
    "smoke": Config(
        csv="shapes",
        split_column="split",
        id_column="id",
        output_dir="runs/active_learning_smoke",
        simulate=True,
        methods=("random", "entropy", "core_set"),
        start=12,
        count=12,
        rounds=2,
        seeds=2,
        image_size=64,
        sequence_length=12,
        hidden_dim=64,
        steps=60,
        learning_rate=1e-2,
    ),
    "open_clip_art": Config(
        data="open_clip_art",
        output_dir="runs/active_learning_open_clip_art",
        simulate=True,
        count=40,
        start=40,
        rounds=6,
    ),
}
