"""The flags of `recipes.text_tasks`."""

import dataclasses
import pathlib

import kmmft

CLASSIFICATIONS = ("classify", "relate")
TASKS = (*CLASSIFICATIONS, "regress", "tag", "answer", "write")


@dataclasses.dataclass(frozen=True)
class Config(kmmft.training.RecipeConfig):
    """Settings of one run."""

    task: str = "classify"
    """classify (also intents, and pairs of texts), regress (numbers; also of pairs),
    relate (the relation of two marked entities), tag (a class for each word, such as
    named entities), answer (the place in a text that answers a question) or write (a
    text from a text: translation, summary, reply). For write, --text_encoder may also
    be scratch, a small one of the sizes below."""
    output_dir: str = "runs/text_tasks"
    """Directory of the run. The same command goes on with a run that was killed."""
    files: str = ""
    """In place of --data. classify, regress, relate, write: a CSV, TSV or JSONL file.
    tag: files of a word and its tag a line (CoNLL). answer: files of SQuAD v1 or v2.
    The latter two as SPLIT=FILE, several with commas. templates: small made-up texts.
    classify, tag: shapes, drawn pictures with texts whose labels need both."""
    image_folder: str = ""
    """tag: folder of the images beside the sentences, which lines such as IMGID:12345
    in the files name."""
    image_column: str = ""
    """classify, relate, regress: column of paths of images beside the texts, relative
    to the file."""
    use_image: bool = True
    """Whether the model sees the images that the data have."""
    horizontal_flip: bool = True
    """Whether training images are mirrored at random."""
    text_column: str = "text"
    """Column of texts; for write, in JSONL also lists, the turns of a dialogue."""
    text_pair_column: str = ""
    """Column of second texts, for tasks on pairs; the model reads both together."""
    label_column: str = "label"
    """Column of class names, or of numbers."""
    target_column: str = "target"
    """write: column of the texts to write, in JSONL also lists of them."""
    split_column: str = ""
    """Column of train, validation and test; without one, by a hash of the text."""
    sequence_length: int = 128
    """Tokens of a text, or of both texts of a pair, special tokens included."""
    window_overlap: int = 64
    """answer: tokens that two windows of a long context have in common."""
    max_question_tokens: int = 32
    """answer: longer questions lose their end."""
    max_answer_tokens: int = 30
    """answer: longest answer."""
    target_length: int = 64
    """write: tokens of a text that is written, special tokens included."""
    turn_separator: str = " | "
    """write: what is put between the turns of a dialogue."""
    keep: str = "start"
    """write: which part of a text that is too long is read, start, or end, as for a
    dialogue."""
    vocabulary_size: int = 8000
    """write: most word pieces of what is trained from scratch."""
    hidden_dim: int = 256
    """Width of what is trained from scratch. write: the decoder, unless --text_encoder
    is a BART or a T5, which bring their own. classify, relate, regress: where the text
    reads an image."""
    num_layers: int = 2
    """Blocks of the same, and of where the words to tag read an image."""
    num_heads: int = 4
    """Attention heads of the same."""
    num_beams: int = 4
    """write: texts that the search keeps; 1 takes the likeliest word each time."""
    length_penalty: float = 0.6
    """write: larger values make texts longer."""
    bleu_tokenizer: str = "13a"
    """write: sacrebleu's; zh, ja-mecab or char for languages without spaces."""
    batch_size: int = 32
    """Examples in one step, over all devices together."""
    epochs: int = 3
    """Passes over the training data."""
    learning_rate: float = 5e-5
    """Highest learning rate of AdamW."""
    dropout_rate: float = 0.1
    """Dropout before the output layer, and in what is trained from scratch."""

    def __post_init__(self):
        super().__post_init__()
        if self.task not in TASKS:
            raise ValueError(
                f"`--task` must be one of {', '.join(TASKS)}. Received: {self.task!r}."
            )
        if bool(self.files) == bool(self.data) and (self.files or self.data):
            raise ValueError(
                "Either `--files` or `--data` must be given. Received: "
                f"files={self.files!r}, data={self.data!r}."
            )
        self._check_images()
        if self.text_encoder == "scratch" and self.task != "write":
            raise ValueError(
                "`--text_encoder scratch` goes with `--task write`. Received: "
                f"--task {self.task}. Take demo for a small one that is trained."
            )
        if self.text_encoder == "scratch" and not self.train_text_encoder:
            raise ValueError(
                "An encoder from scratch must be trained. Received: --text_encoder "
                "scratch and --no_train_text_encoder. Leave one of them out."
            )
        for name in ("num_layers", "hidden_dim", "num_heads", "num_beams"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`--{name}` must be at least 1. Received: {getattr(self, name)}."
                )
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(
                f"`--dropout_rate` must be in [0, 1). Received: {self.dropout_rate}."
            )

    def _check_images(self) -> None:
        tabular = self.files and self.task in (*CLASSIFICATIONS, "regress")
        if self.image_column and not tabular:
            raise ValueError(
                "`--image_column` is a column of `--files` of classify, relate and "
                f"regress. Received: --image_column {self.image_column} with --task "
                f"{self.task}, files={self.files!r}. Records of --data bring images "
                "themselves."
            )
        if self.image_folder and not (self.files and self.task == "tag"):
            raise ValueError(
                "`--image_folder` goes with `--files` of `--task tag`. Received: "
                f"--image_folder {self.image_folder} with --task {self.task}, files="
                f"{self.files!r}. Records of --data bring images themselves."
            )
        if self.files == "shapes" and self.task not in ("classify", "tag"):
            raise ValueError(
                "`--files shapes` is made for classify and tag. Received: --task "
                f"{self.task}."
            )

    @property
    def is_pairs(self) -> bool:
        """Whether there are columns of two texts."""
        return bool(self.text_pair_column)

    @property
    def data_folder(self) -> pathlib.Path:
        """Where data that are built for the run lie."""
        return pathlib.Path(self.output_dir, "data")

    def check_data(self) -> None:
        """Raises unless there are data to learn from."""
        if not (self.files or self.data):
            raise ValueError(
                "Either `--files` or `--data` must be given. Received: neither."
            )

    def split_files(self) -> list[str]:
        """The files as they stand in `--files`, SPLIT=FILE or FILE each."""
        return [file.strip() for file in self.files.split(",") if file.strip()]
