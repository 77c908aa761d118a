"""Settings of `text_to_image`, and its presets."""

import dataclasses

import kmmft


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.RecipeConfig):
    """Settings of one run."""

    data: str = "easy_vqa"
    """TFDS directory of images with captions; easy_vqa for the pictures of the pip
    package easy-vqa; shapes for small pictures that are drawn on the spot."""
    output_dir: str = "runs/text_to_image"
    """Directory of the run. The same command goes on with a run that was killed."""
    judge: str = ""
    """SavedModel of the recipe visual_question_answering, which is asked for shape and
    colour of the drawn pictures; empty for none."""
    ranker: str = ""
    """Run directory of the recipe contrastive, whose model keeps the best of several
    pictures of a text in the test; empty for none."""
    scorer: str = ""
    """Run directory of the recipe contrastive, whose model says how well drawn pictures
    fit their texts (CLIPScore); another one than the ranker's. Empty for none."""
    candidates: int = 4
    """Pictures that the ranker chooses from."""
    image_encoder: str = "demo"
    """Compares pictures, for the tokenizer's loss and for the distance in the test; as
    for other recipes a preset, a directory, or demo."""
    train_image_encoder: bool = False
    """Only False: what compares pictures must not change."""
    image_size: int = 64
    """Height and width of the pictures in pixels."""
    smallest_crop: float = 0.8
    """Smallest part of a training image's area that is cut out; 1 for all of it."""
    horizontal_flip: bool = True
    """Whether training images are mirrored at random: not if texts tell left from
    right."""
    sequence_length: int = 8
    """Tokens of a text, special tokens included."""
    train_text_encoder: bool = False
    """Whether the text encoder's weights are trained, or stay frozen."""
    num_codes: int = 128
    """Codes of the image tokenizer."""
    tokenizer_blocks: int = 0
    """Residual blocks of the image tokenizer at each size."""
    tokenizer_epochs: int = 25
    """Passes over the training data for the image tokenizer."""
    tokenizer_learning_rate: float = 2e-3
    """Highest learning rate of the image tokenizer."""
    perceptual_weight: float = 0.1
    """Weight of the distance that the image encoder sees; 0 for pixels alone."""
    adversarial_weight: float = 0.1
    """Share of the gradient at the last layer that the discriminator gets; 0: none."""
    adversarial_start: float = 0.5
    """Part of the tokenizer's training after which the discriminator has a say."""
    hidden_dim: int = 128
    """Width of the transformer."""
    num_layers: int = 4
    """Blocks of the transformer."""
    caption_dropout: float = 0.1
    """How often a text is left out in training; guidance needs it."""
    guidance_scale: float = 2.5
    """How much more than in training the text counts in drawing; 1: not more."""
    temperature: float = 1.0
    """Of the drawing; less is closer to the likeliest picture."""
    top_p: float = 0.95
    """The likeliest codes that add up to this may be drawn."""
    pictures_per_text: int = 10
    """Pictures that are drawn of each text in the test."""
    max_texts: int = 200
    """Most texts of the test that are drawn, evenly over all of them."""
    epochs: int = 40
    """Passes over the training data for the transformer."""
    batch_size: int = 32
    """Examples in one step, over all devices together."""
    patience: int = 100
    """Validations without a better result after which a stage stops."""

    def __post_init__(self):
        super().__post_init__()
        least = {"num_codes": 2, "tokenizer_blocks": 0, "tokenizer_epochs": 1}
        least |= {"candidates": 1, "pictures_per_text": 1, "max_texts": 1}
        least |= {"num_layers": 1, "temperature": 0, "perceptual_weight": 0}
        for name, number in least.items():
            if not getattr(self, name) >= number:
                raise ValueError(
                    f"`--{name}` must be at least {number}. "
                    f"Received: {getattr(self, name)}."
                )
        for name in ("adversarial_start", "caption_dropout", "adversarial_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"`--{name}` must be in [0, 1]. Received: {getattr(self, name)}."
                )
        for name in ("top_p", "smallest_crop"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(
                    f"`--{name}` must be in (0, 1]. Received: {getattr(self, name)}."
                )
        if self.train_image_encoder:
            raise ValueError(
                "What compares pictures must not change. Received: "
                "train_image_encoder=True. Leave this flag out."
            )
        if self.guidance_scale != 1 and not self.caption_dropout:
            raise ValueError(
                "Guidance compares with the empty text, which must have been learnt. "
                f"Received: --guidance_scale {self.guidance_scale} and "
                "--caption_dropout 0. Set the former to 1, or the latter to 0.1."
            )
        if self.scorer and self.scorer == self.ranker:
            raise ValueError(
                "A ranker must not score its own choice. Received: --ranker and "
                f"--scorer {self.scorer}. Train another model, with another seed."
            )
        if self.ranker and self.candidates == 1:
            raise ValueError(
                "`--ranker` chooses from several pictures. Received: --candidates 1. "
                "Raise it, or leave the ranker out."
            )


PRESETS = {
    "easy_vqa": Config(),
    "smoke": Config(
        data="shapes",
        output_dir="runs/text_to_image_smoke",
        image_size=32,
        sequence_length=8,
        num_codes=16,
        tokenizer_epochs=1,
        perceptual_weight=0.0,
        hidden_dim=16,
        num_layers=1,
        pictures_per_text=1,
        epochs=3,
        batch_size=16,
        learning_rate=5e-3,
        max_bad_fraction=0.0,
    ),
}
