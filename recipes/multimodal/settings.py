"""Settings of the multimodal classifier, and its presets."""

import dataclasses

import kmmft

FUSIONS = {
    "gated": kmmft.layers.GatedFusion,
    "bilinear": kmmft.layers.BilinearFusion,
}


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.AudioEncoderConfig):
    """Settings of one run."""

    output_dir: str = "runs/multimodal_classification"
    """Directory of the run. The same command goes on with a run that was killed."""
    csv: str = ""
    """CSV, TSV, JSONL or Parquet file of examples, in place of --data. Made on the
    spot: shapes, cases (drawn patients), easy_vqa_entailment, and sounds (with drawn
    pictures and texts that are not always right)."""
    sounds: str = ""
    """Table with columns audio and label, of the sounds of --csv sounds, and perhaps
    split, or group for what must not be torn apart; empty for made tones."""
    image_column: str = "image"
    """Column of image paths, relative to the file; empty for none."""
    audio_column: str = ""
    """Column of paths of WAV files, or FLAC and Ogg, which become WAV; empty for
    none."""
    text_column: str = "text"
    """Column of texts; empty for none."""
    number_columns: tuple[str, ...] = ()
    """Columns of numbers."""
    category_columns: tuple[str, ...] = ()
    """Columns of categories."""
    label_column: str = "label"
    """Column of class names."""
    split_column: str = ""
    """Column of train, validation and test; without one, by a hash of the example."""
    allow_missing: bool = True
    """Whether cells of the file may be empty, if not all of a row are."""
    hidden_dim: int = 256
    """Width of the fusion layer, of the table's and of a small audio encoder."""
    fusion: str = "gated"
    """gated weighs the modalities; bilinear multiplies them, where the answer depends
    on two at once."""
    dropout_rate: float = 0.1
    """Dropout in the head."""
    modality_dropout_rate: float = 0.2
    """How often each modality of an example is hidden from the model in training."""
    horizontal_flip: bool = True
    """Whether training images are mirrored at random."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""
    focal_gamma: float = 0.0
    """Focusing parameter of the focal loss; 0 is cross-entropy."""
    class_weights: bool = False
    """Whether rare classes count more, so that all classes count alike."""
    compare_seeds: int = 0
    """Number of seeds to compare the ways of training with; 0 for no comparison. The
    image and text encoders must be frozen. An audio encoder starts anew each time."""
    compare_epochs: int = 30
    """Passes over the training data in each run of the comparison."""

    def __post_init__(self):
        super().__post_init__()
        # They come back from JSON, of which `--config` reads them, as lists.
        for name in ("number_columns", "category_columns"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.fusion not in FUSIONS:
            raise ValueError(
                f"`--fusion` must be one of {', '.join(FUSIONS)}. "
                f"Received: {self.fusion!r}."
            )
        if self.sounds and self.csv != "sounds":
            raise ValueError(
                "`--sounds` goes with `--csv sounds`. Received: "
                f"sounds={self.sounds!r}, csv={self.csv!r}."
            )
        if self.compare_seeds and (self.train_image_encoder or self.train_text_encoder):
            raise ValueError(
                "`--compare_seeds` needs frozen encoders, whose features it computes "
                "once. Received: train_image_encoder="
                f"{self.train_image_encoder}, train_text_encoder="
                f"{self.train_text_encoder}. Set both to False."
            )


_FROZEN = {"train_image_encoder": False, "train_text_encoder": False}
PRESETS = {
    "default": Config(),
    "smoke": Config(
        csv="shapes",
        split_column="split",
        output_dir="runs/multimodal_classification_smoke",
        image_size=64,
        sequence_length=12,
        hidden_dim=64,
        dropout_rate=0.0,
        epochs=3,
        batch_size=16,
        learning_rate=1e-2,
        max_bad_fraction=0.0,
        **_FROZEN,
    ),
    "sentiment": Config(
        output_dir="runs/multimodal_sentiment",
        label_column="sentiment",
        class_weights=True,
        sequence_length=64,
        learning_rate=1e-4,
    ),
    "entailment": Config(
        csv="easy_vqa_entailment",
        split_column="split",
        output_dir="runs/visual_entailment",
        fusion="bilinear",
        image_size=64,
        sequence_length=16,
        horizontal_flip=False,
        modality_dropout_rate=0.1,
        epochs=3,
        learning_rate=3e-4,
    ),
    "medical": Config(
        csv="cases",
        split_column="split",
        number_columns=("age", "diameter_mm"),
        category_columns=("site",),
        output_dir="runs/multimodal_medical",
        image_size=64,
        sequence_length=12,
        hidden_dim=64,
        epochs=15,
        batch_size=32,
        learning_rate=3e-3,
        patience=15,
        compare_seeds=3,
        **_FROZEN,
    ),
    "sounds": Config(
        csv="sounds",
        audio_column="audio",
        split_column="split",
        output_dir="runs/multimodal_sounds",
        image_size=64,
        sequence_length=12,
        hidden_dim=64,
        audio_seconds=1.0,
        spec_augment=False,
        horizontal_flip=False,
        epochs=12,
        batch_size=32,
        learning_rate=2e-3,
        patience=12,
        **_FROZEN,
    ),
    "open_clip_art": Config(
        data="open_clip_art",
        output_dir="runs/multimodal_open_clip_art",
        image_size=128,
        epochs=4,
        compare_seeds=3,
        **_FROZEN,
    ),
}
