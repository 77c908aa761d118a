"""Settings of visual question answering, and its presets."""

import dataclasses
import functools

import kmmft

FUSIONS = {
    "concat": kmmft.layers.ConcatFusion,
    "gated": kmmft.layers.GatedFusion,
    "bilinear": kmmft.layers.BilinearFusion,
    "film": functools.partial(kmmft.layers.FiLMFusion, condition="question"),
    "cross_attention": functools.partial(
        kmmft.layers.CrossAttentionFusion, query="question"
    ),
    "transformer": kmmft.layers.TransformerFusion,
    "tensor": kmmft.layers.TensorFusion,
}


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.RecipeConfig):
    """Settings of one run."""

    data: str = ""
    """TFDS directory; easy_vqa for the data of the pip package easy-vqa; shapes for
    small pictures that are drawn on the spot."""
    output_dir: str = "runs/visual_question_answering"
    """Directory of the run. The same command goes on with a run that was killed."""
    head: str = "classify"
    """classify chooses among the training answers; generate writes the answer, word
    piece by word piece, with a decoder that reads image, question and their fusion."""
    pretrained_writer: str = ""
    """A PaliGemma, Gemma 3 or BLIP-2 preset of KerasHub, or a directory, that generates
    in place of encoders and decoder: --head generate --pretrained_writer
    pali_gemma_3b_224."""
    prompt: str = "answer en {question}"
    """What a pretrained writer reads behind the image; a Gemma 3 as a turn of the user,
    such as "{question} Answer with one word.", a BLIP-2 "Question: {question}
    Answer:"."""
    lora_rank: int = 0
    """Of a pretrained writer, only changes of this rank learn, of the queries and
    values of its decoder, and what asks a BLIP-2's queries, as without image encoder.
    0 to train its weights themselves."""
    use_image: bool = True
    """Whether the model sees the image."""
    use_question: bool = True
    """Whether the model sees the question."""
    fusion: str = "bilinear"
    """concat, gated, bilinear, film, cross_attention, transformer or tensor."""
    hidden_dim: int = 512
    """Width of the fusion layer."""
    head_dim: int = 256
    """Width of the layer between fusion and answers, or of the decoder."""
    num_layers: int = 2
    """Blocks of the decoder."""
    num_heads: int = 4
    """Attention heads of the decoder."""
    answer_length: int = 8
    """Word pieces of the longest written answer, start and end included."""
    num_beams: int = 1
    """Answers that the decoder's search keeps; with 1 it is greedy."""
    dropout_rate: float = 0.1
    """Dropout in the head."""
    horizontal_flip: bool = True
    """Whether training images are mirrored at random."""
    explained: int = 0
    """Test examples whose answers the report explains, by hiding parts of picture and
    question. Only of a classifier."""
    compare_floors: bool = False
    """Also trains without image, without question, and with both encoders frozen."""
    variants: bool = False
    """Also exports small and fast variants, measured on 1,000 test questions."""
    max_latency_ms: float = 0.0
    """Longest time of one question that the chosen variant may take; 0 for any."""
    max_size_mb: float = 0.0
    """Largest size of the chosen variant; 0 for any."""

    def __post_init__(self):
        super().__post_init__()
        if self.fusion not in FUSIONS:
            raise ValueError(
                f"`--fusion` must be one of {', '.join(FUSIONS)}. "
                f"Received: {self.fusion!r}."
            )
        if self.head not in ("classify", "generate"):
            raise ValueError(
                f"`--head` must be classify or generate. Received: {self.head!r}."
            )
        if self.variants and self.head == "generate":
            raise ValueError(
                "Variants are made of a classifier. Received: --variants and "
                "--head generate. Leave one of them out."
            )
        self._check_writer()
        if not (self.use_image or self.use_question):
            raise ValueError(
                "The model must see something. Received: --no_use_image and "
                "--no_use_question. Leave one of them out."
            )

    def _check_writer(self) -> None:
        whole = self.head == "generate" and self.use_image and self.use_question
        if self.pretrained_writer and (not whole or self.compare_floors):
            raise ValueError(
                "A pretrained writer generates, and reads image and question both. "
                f"Received: --pretrained_writer {self.pretrained_writer} with --head "
                f"{self.head}, use_image={self.use_image}, use_question="
                f"{self.use_question}, compare_floors={self.compare_floors}."
            )
        if "{question}" not in self.prompt:
            raise ValueError(
                "`--prompt` must say where the question stands: {question}. "
                f"Received: {self.prompt!r}."
            )
        if self.lora_rank and not self.pretrained_writer:
            raise ValueError(
                "`--lora_rank` is for a pretrained writer. Received: --lora_rank "
                f"{self.lora_rank} without --pretrained_writer."
            )


PRESETS = {
    "default": Config(),
    "quickstart": Config(
        data="easy_vqa",
        output_dir="runs/quickstart",
        train_text_encoder=False,
        image_size=64,
        sequence_length=12,
        epochs=1,
        validations_per_epoch=4,
        explained=6,
    ),
    "smoke": Config(
        data="shapes",
        output_dir="runs/visual_question_answering_smoke",
        train_image_encoder=False,
        train_text_encoder=False,
        image_size=64,
        sequence_length=12,
        hidden_dim=64,
        head_dim=64,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        epochs=3,
        batch_size=16,
        learning_rate=1e-2,
        max_bad_fraction=0.0,
        explained=1,
    ),
}
FLOORS = {
    "question only": {"use_image": False},
    "image only": {"use_question": False},
    "frozen encoders": {"train_image_encoder": False, "train_text_encoder": False},
}
