"""The flags that the comparisons share."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class ComparisonConfig:
    """Settings of a comparison; each recipe's own `Config` adds its own."""

    data: str = ""
    """TFDS directory."""
    output_dir: str = "runs/comparison"
    """Directory of the comparison. The same command goes on where it was killed."""
    labels: str = "20"
    """Numbers of labelled examples, comma-separated."""
    seeds: int = 3
    """Runs of each method with its best rate. Each seed draws other examples, another
    head and another order, the same ones for every method."""
    learning_rates: str = "1e-4,5e-4,2e-3,1e-2"
    """Highest rates of AdamW to try, comma-separated, with the first number of labels
    and the first seed. The best of each method on validation data, of equals the
    lowest, is used for the other seeds and numbers of labels too."""
    steps: int = 60
    """Optimizer steps of a run."""
    image_encoder: str = "demo"
    """KerasHub preset, hf://..., kaggle://..., a local preset, Hugging Face or
    SavedModel directory, or demo: EfficientNet-Lite0 trained on ImageNet."""
    text_encoder: str = "demo"
    """Likewise, for questions; demo: the sentence encoder all-MiniLM-L6-v2."""
    image_size: int = 64
    """Height and width of the images in pixels."""
    sequence_length: int = 14
    """Tokens of a question."""
    hidden_dim: int = 128
    """Width of the fusion layer, where there are questions."""
    batch_size: int = 16
    """Examples in one step, over all devices together."""
    weight_decay: float = 1e-4
    """Decoupled weight decay."""
    max_bad_fraction: float = 1e-3
    """Share of records that may be unreadable and are skipped; beyond, an error."""
    seed: int = 0
    """First seed."""
    strategy: str = "auto"
    """auto, one_device or mirrored."""
    dtype_policy: str = "float32"
    """Keras dtype policy, such as mixed_bfloat16."""
    resume: bool = True
    """Whether to go on with the comparison in output_dir."""

    def __post_init__(self):
        if self.strategy not in ("auto", "one_device", "mirrored"):
            raise ValueError(
                "`--strategy` must be auto, one_device or mirrored. "
                f"Received: {self.strategy!r}."
            )
        self.check_counts("seeds", "steps", "image_size", "hidden_dim", "batch_size")
        for name in ("labels", "learning_rates"):
            self.numbers(name)

    def check_counts(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`--{name}` must be at least 1. Received: {getattr(self, name)}."
                )

    def numbers(self, name: str) -> list[float]:
        """The numbers of a comma-separated flag."""
        text = getattr(self, name)
        try:
            found = [float(part) for part in text.split(",")]
        except ValueError:
            found = [math.nan]
        if not all(0 < number < math.inf for number in found):
            raise ValueError(
                f"`--{name}` must be positive numbers, comma-separated. "
                f"Received: {text!r}."
            )
        return [int(number) if number.is_integer() else number for number in found]

    def effort(self) -> dict[str, list]:
        """What `kmmft.evaluation.compare_methods` needs to know of this."""
        return {
            "labels": self.numbers("labels"),
            "learning_rates": self.numbers("learning_rates"),
            "seeds": list(range(self.seed, self.seed + self.seeds)),
        }
