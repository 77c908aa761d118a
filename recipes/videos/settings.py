"""The flags of `recipes.video_text`, and its presets."""

import dataclasses

import kmmft

AGGREGATIONS = {
    "mean": "mean over frames",
    "sequence_transformer": "transformer over frames",
    "tight": "transformer over text and frames",
}


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.RecipeConfig):
    """Settings of one run."""

    output_dir: str = "runs/video_text"
    """Directory of the run. The same command goes on with a run that was killed."""
    manifest: str = ""
    """CSV, TSV or JSONL file of videos, in place of --data; shapes: clips that are
    drawn on the spot."""
    video_column: str = "video"
    """Column of video paths, relative to the file."""
    caption_column: str = "caption"
    """Column of captions."""
    split_column: str = ""
    """Column of train, validation and test; without one, by a hash of the video."""
    image_encoder: str = "demo"
    """As everywhere, or small: a convolutional network that knows nothing yet."""
    text_encoder: str = "demo"
    """As everywhere, or small: the mean of vectors of the training captions' words."""
    num_frames: int = 8
    """Frames of a video that the model sees."""
    aggregations: str = "sequence_transformer"
    """mean, sequence_transformer or tight; or several with commas, trained one after
    the other and compared. The last one is kept."""
    num_layers: int = 2
    """Blocks of the transformer."""
    num_heads: int = 4
    """Attention heads of such a block; must divide its width."""
    dropout_rate: float = 0.0
    """Dropout in the blocks over frames."""
    projection_dim: int = 256
    """Width of the common space."""
    temperature: float = 0.07
    """First value of the learnt temperature of cosines."""

    def __post_init__(self):
        super().__post_init__()
        names = self.aggregations.split(",")
        if not set(names) <= set(AGGREGATIONS) or len(set(names)) < len(names):
            raise ValueError(
                f"`--aggregations` must be of {', '.join(AGGREGATIONS)}, each once. "
                f"Received: {self.aggregations!r}."
            )


SHAPES = Config(
    manifest="shapes",
    split_column="split",
    output_dir="runs/video_text_shapes",
    aggregations="mean,sequence_transformer,tight",
    image_encoder="small",
    text_encoder="small",
    image_size=32,
    sequence_length=8,
    projection_dim=64,
    epochs=20,
    patience=20,
    batch_size=48,
    learning_rate=1e-3,
    max_bad_fraction=0.0,
)
PRESETS = {
    "default": Config(),
    "smoke": dataclasses.replace(
        SHAPES,
        aggregations="mean,sequence_transformer",
        output_dir="runs/video_text_smoke",
        num_layers=1,
        epochs=8,
        learning_rate=6e-3,
    ),
    "shapes": SHAPES,
}
