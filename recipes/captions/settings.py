"""Settings of captioning, and its presets."""

import dataclasses

import kmmft

from ..pairs.settings import PairsConfig

SEARCHES = {
    "greedy": lambda config: kmmft.models.Greedy(),
    "beam": lambda config: kmmft.models.BeamSearch(
        config.num_beams, config.length_penalty
    ),
    "sampling": lambda config: kmmft.models.Sampling(
        config.top_k or None, config.top_p or None, config.temperature
    ),
}


@dataclasses.dataclass(frozen=True)
class Config(PairsConfig):
    """Settings of one run."""

    output_dir: str = "runs/captioning"
    """Directory of the run. The same command goes on with a run that was killed."""
    first_caption_only: bool = False
    """Whether a picture's first caption alone is learnt, and not one at random; all of
    them are references in the test."""
    model: str = "writer"
    """writer, a decoder that reads the image; coca, which also compares images with
    texts: then the run tells retrieval too, and serves encode_image and encode_text."""
    decoder: str = "scratch"
    """scratch, or a GPT-2 preset of KerasHub, or its local directory."""
    pretrained_writer: str = ""
    """A PaliGemma, Gemma 3 or BLIP-2 preset of KerasHub, or a local directory: image
    encoder, decoder and words of one model, in place of --image_encoder and
    --decoder."""
    prompt: str = ""
    """What a pretrained writer reads behind the picture; a Gemma 3 as a turn of the
    user. Empty for the model's own: "caption en" for a PaliGemma, "Describe this image
    in one sentence." for a Gemma 3, none for a BLIP-2."""
    lora_rank: int = 0
    """Of a pretrained writer, only changes of this rank learn, of the queries and
    values of its decoder, and what asks a BLIP-2's queries, as without image encoder.
    0 to train its weights themselves."""
    hidden_dim: int = 256
    """Width of the decoder from scratch."""
    num_layers: int = 2
    """Blocks of the decoder from scratch; of a coca, as many again for texts alone."""
    num_heads: int = 4
    """Attention heads of the decoder from scratch."""
    dropout_rate: float = 0.3
    """Dropout in the decoder from scratch."""
    projection_dim: int = 128
    """Width of a coca's common space of images and texts."""
    num_queries: int = 16
    """Vectors that a coca's decoder sees of an image."""
    contrastive_weight: float = 1.0
    """Weight of a coca's contrastive loss; 0 leaves it out."""
    caption_weight: float = 2.0
    """Weight of a coca's captioning loss; 0 leaves it out."""
    self_critical_epochs: int = 0
    """Passes after the others in which a writer learns by the CIDEr-D of captions that
    it draws, against that of its greedy ones; the image encoder stays as it is."""
    self_critical_learning_rate: float = 5e-5
    """Highest learning rate of these passes."""
    search: str = "beam"
    """greedy, beam or sampling."""
    num_beams: int = 4
    """Texts that a beam search keeps."""
    length_penalty: float = 0.6
    """Larger values make a beam search's captions longer."""
    top_k: int = 0
    """Words to draw from when sampling; 0 for all."""
    top_p: float = 0.9
    """Probability of the words to draw from when sampling; 0 for all."""
    temperature: float = 1.0
    """Divides the logits when sampling."""
    resize_mode: str = "crop"
    """How images are brought to --image_size: crop, pad or stretch."""
    smallest_crop: float = 0.7
    """Smallest part of a training image's area that is cut out; 1 for all of it."""
    horizontal_flip: bool = False
    """Whether training images are mirrored at random."""
    color_jitter: float = 0.1
    """Largest change of a training image's brightness, contrast and saturation; 0
    where captions tell colours that are close to each other."""

    def __post_init__(self):
        super().__post_init__()
        for name, choices in (
            ("search", tuple(SEARCHES)),
            ("model", ("writer", "coca")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"`--{name}` must be one of {', '.join(choices)}. "
                    f"Received: {getattr(self, name)!r}."
                )
        if self.model == "coca" and self.decoder != "scratch":
            raise ValueError(
                "A coca's decoder is made from scratch. Received: "
                f"--model coca and --decoder {self.decoder}. Leave one of them out."
            )
        self._check_writer()
        if self.self_critical_epochs < 0:
            raise ValueError(
                "`--self_critical_epochs` must not be negative. "
                f"Received: {self.self_critical_epochs}."
            )
        if self.model == "coca" and self.self_critical_epochs:
            raise ValueError(
                "Only a writer learns self-critically. Received: --model coca and "
                f"--self_critical_epochs {self.self_critical_epochs}. Leave one of "
                "them out."
            )

    def _check_writer(self) -> None:
        if self.pretrained_writer and (self.model, self.decoder) != (
            "writer",
            "scratch",
        ):
            raise ValueError(
                "A pretrained writer is a whole model. Received: --pretrained_writer "
                f"{self.pretrained_writer}, --model {self.model} and --decoder "
                f"{self.decoder}. Leave the others out."
            )
        if "{" in self.prompt:
            raise ValueError(
                "`--prompt` must be the same for all pictures. "
                f"Received: {self.prompt!r}."
            )
        if self.lora_rank and (not self.pretrained_writer or self.self_critical_epochs):
            raise ValueError(
                "`--lora_rank` is for a pretrained writer, and not for self-critical "
                f"training. Received: --lora_rank {self.lora_rank}, "
                f"--pretrained_writer {self.pretrained_writer!r}, "
                f"--self_critical_epochs {self.self_critical_epochs}."
            )


PRESETS = {
    "default": Config(),
    "smoke": Config(
        manifest="shapes",
        split_column="split",
        output_dir="runs/captioning_smoke",
        train_image_encoder=False,
        image_size=64,
        sequence_length=6,
        hidden_dim=32,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        num_beams=2,
        epochs=12,
        patience=12,
        batch_size=16,
        learning_rate=1e-2,
        smallest_crop=1.0,
        max_bad_fraction=0.0,
    ),
    # The image encoder is trained: frozen, it confuses some of the colours.
    "easy_vqa": Config(
        manifest="easy_vqa",
        output_dir="runs/captioning_easy_vqa",
        image_size=64,
        sequence_length=8,
        search="greedy",
        smallest_crop=1.0,
        horizontal_flip=True,
        epochs=5,
        patience=5,
        max_bad_fraction=0.0,
    ),
    # A CoCa on the same pictures in minutes; its image encoder is frozen.
    "coca": Config(
        manifest="easy_vqa",
        output_dir="runs/captioning_coca",
        model="coca",
        train_image_encoder=False,
        image_size=64,
        sequence_length=8,
        hidden_dim=128,
        num_layers=1,
        dropout_rate=0.1,
        projection_dim=64,
        num_queries=4,
        search="greedy",
        smallest_crop=1.0,
        horizontal_flip=True,
        epochs=4,
        patience=4,
        max_bad_fraction=0.0,
    ),
    "open_clip_art": Config(
        manifest="open_clip_art",
        output_dir="runs/captioning_open_clip_art",
        train_image_encoder=False,
        image_size=128,
        resize_mode="pad",
        smallest_crop=0.5,
        sequence_length=24,
        epochs=10,
        patience=3,
        batch_size=64,
        learning_rate=1e-3,
        weight_decay=2e-2,
        max_bad_fraction=0.0,
    ),
}
