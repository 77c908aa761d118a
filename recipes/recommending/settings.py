"""Settings of the recommender, and its presets."""

import dataclasses

import kmmft


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.RecipeConfig):
    """Settings of one run."""

    data: str = ""
    """TFDS directory of items with an `id`, an `image` and a `text` or `captions`, all
    splits together. Instead of a directory: open_clip_art (drawings of eight kinds with
    their titles) or shapes (drawn on the spot), then with made-up users."""
    manifest: str = ""
    """CSV, TSV, JSONL or Parquet file of items, in place of --data."""
    id_column: str = "id"
    """Column of the items' ids in the manifest."""
    image_column: str = "image"
    """Column of image paths, relative to the manifest."""
    text_column: str = "text"
    """Column of texts."""
    histories: str = ""
    """CSV, TSV, JSONL or Parquet file, a row for each item that a user chose."""
    user_column: str = "user"
    """Its column of users."""
    item_column: str = "item"
    """Its column of items' ids."""
    time_column: str = ""
    """Its column of times, all numbers or all ISO dates; empty if rows are in order."""
    made_users: int = 1000
    """How many users are made up, where the data are."""
    output_dir: str = "runs/recommendation"
    """Directory of the run. The same command goes on with a run that was killed."""
    train_image_encoder: bool = False
    """Only False: items' vectors are computed once, by frozen encoders."""
    train_text_encoder: bool = False
    """Likewise."""
    hidden_dim: int = 128
    """Width of the towers' vectors."""
    history_length: int = 20
    """Items of a history that the model looks at."""
    num_layers: int = 1
    """Blocks of the transformer over the history; 0 for the mean of its items."""
    dropout_rate: float = 0.2
    """Dropout in the towers."""
    modality_dropout_rate: float = 0.1
    """How often an item's picture or text is hidden from the model in training."""
    temperature: float = 0.07
    """First value of the learnt temperature."""
    frequency_correction: bool = True
    """Whether logits are corrected for how often each item is in a batch."""
    list_length: int = 10
    """Items that a user is shown: k of HR@k and NDCG@k."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("made_users", "list_length", "history_length", "hidden_dim"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`--{name}` must be at least 1. Received: {getattr(self, name)}."
                )
        if self.train_image_encoder or self.train_text_encoder:
            raise ValueError(
                "A recommender's encoders are frozen. Received: train_image_encoder="
                f"{self.train_image_encoder}, train_text_encoder="
                f"{self.train_text_encoder}. Leave these flags out."
            )
        if self.num_layers < 0 or not self.temperature > 0:
            raise ValueError(
                "`--temperature` must be positive, and `--num_layers` not negative. "
                f"Received: {self.temperature} and {self.num_layers}."
            )
        for name in ("dropout_rate", "modality_dropout_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"`--{name}` must be in [0, 1). Received: {getattr(self, name)}."
                )


PRESETS = {
    "default": Config(),
    "open_clip_art": Config(
        data="open_clip_art",
        output_dir="runs/recommendation_open_clip_art",
        image_size=128,
        history_length=12,
        epochs=4,
        batch_size=128,
        learning_rate=2e-3,
        weight_decay=1e-2,
    ),
    "smoke": Config(
        data="shapes",
        output_dir="runs/recommendation_smoke",
        made_users=120,
        image_size=64,
        sequence_length=8,
        hidden_dim=32,
        history_length=6,
        dropout_rate=0.0,
        epochs=4,
        batch_size=32,
        learning_rate=1e-2,
        max_bad_fraction=0.0,
    ),
}
