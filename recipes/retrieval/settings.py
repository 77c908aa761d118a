"""Settings of contrastive training, its losses and presets."""

import dataclasses

import kmmft

from ..pairs.settings import PairsConfig

LOSSES = {
    "info_nce": lambda config: kmmft.losses.InfoNCE(),
    "siglip": lambda config: kmmft.losses.SigLIP(),
    "triplet": lambda config: kmmft.losses.Triplet(config.margin),
    "similarity_discrimination": lambda config: kmmft.losses.SimilarityDiscrimination(
        margin=config.margin
    ),
}


@dataclasses.dataclass(frozen=True)
class Config(PairsConfig):
    """Settings of one run."""

    output_dir: str = "runs/contrastive"
    """Directory of the run. The same command goes on with a run that was killed."""
    caption_column: str = "caption"
    """Column of captions; with --flyp, of class names."""
    flyp: bool = False
    """Whether the data are labelled images, whose class names make the captions."""
    template: str = "a photo of a {}."
    """Caption of a class, with --flyp."""
    loss: str = "info_nce"
    """info_nce, siglip, triplet or similarity_discrimination."""
    margin: float = 0.2
    """Margin of the losses triplet and similarity_discrimination."""
    temperature: float = 0.07
    """First value of the learnt temperature; siglip begins with 0.1."""
    projection_dim: int = 256
    """Width of the common space. 0: that of the text encoder."""
    head_dropout_rate: float = 0.0
    """Dropout of the image encoder's vector before its head, against overfitting."""
    ridge_start: bool = False
    """Whether the heads begin as a ridge regression between the encoders as they are;
    needs --projection_dim 0."""
    freeze_batch_norm: bool = False
    """Whether the image encoder's BatchNorm keeps its pretrained statistics."""
    micro_batch_size: int = 0
    """Examples computed at a time, with the whole batch's gradients; must divide
    --batch_size. 0: all at once."""
    resize_mode: str = "crop"
    """How images are brought to --image_size: crop, pad or stretch."""
    smallest_crop: float = 0.7
    """Smallest part of a training image's area that is cut out; 1 for all of it."""
    horizontal_flip: bool = True
    """Whether training images are mirrored at random."""
    ridge_baseline: bool = False
    """Whether the table shows ridge regression between the frozen encoders too."""
    variants: bool = False
    """Also exports small and fast variants, measured by retrieval among 1,000 test
    records, and searches them with vectors in few bits."""
    max_latency_ms: float = 0.0
    """Longest time of one pair that the chosen variant may take; 0 for any."""
    max_size_mb: float = 0.0
    """Largest size of the chosen variant; 0 for any."""

    def __post_init__(self):
        super().__post_init__()
        if self.loss not in LOSSES:
            raise ValueError(
                f"`--loss` must be one of {', '.join(LOSSES)}. Received: {self.loss!r}."
            )
        if self.flyp and (self.ridge_baseline or self.ridge_start):
            raise ValueError(
                "Ridge regression needs captions. Received: `--flyp` with "
                "`--ridge_baseline` or `--ridge_start`. Leave one of them out."
            )
        if self.flyp and self.variants:
            raise ValueError(
                "Variants are measured by retrieval. Received: `--flyp` and "
                "`--variants`. Leave one of them out."
            )
        if self.flyp and self.manifest in ("easy_vqa", "open_clip_art"):
            raise ValueError(
                "With `--flyp` the captions are names of classes, which these pictures "
                f"do not have. Received: manifest={self.manifest!r}."
            )
        if self.flyp and "{}" not in self.template:
            raise ValueError(
                "`--template` needs `{}` where the class goes. "
                f"Received: {self.template!r}."
            )


PRESETS = {
    "default": Config(),
    "smoke": Config(
        manifest="shapes",
        split_column="split",
        output_dir="runs/contrastive_smoke",
        train_image_encoder=False,
        train_text_encoder=False,
        image_size=64,
        sequence_length=8,
        projection_dim=64,
        epochs=2,
        batch_size=24,
        learning_rate=1e-2,
        max_bad_fraction=0.0,
    ),
    # Few pairs: begin where ridge regression ends, and drop most of what the head sees.
    "open_clip_art": Config(
        manifest="open_clip_art",
        output_dir="runs/open_clip_art",
        train_text_encoder=False,
        freeze_batch_norm=True,
        resize_mode="pad",
        smallest_crop=0.5,
        sequence_length=24,
        projection_dim=0,
        head_dropout_rate=0.7,
        ridge_start=True,
        ridge_baseline=True,
        epochs=8,
        patience=4,
        batch_size=128,
        learning_rate=1e-4,
        weight_decay=2e-2,
        max_bad_fraction=0.0,
    ),
}
