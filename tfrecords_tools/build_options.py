"""What every build lets its user choose, whatever the source."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class BuildOptions:
    """Options that all sources share.

    Attributes:
        num_shards: Files per split; default: by size and number of records.
        shard_megabytes: Size of a file, about, in place of num_shards; 100 to 200 is
            usual for large sets.
        max_side: Longest side of an image in pixels; larger ones are made smaller.
        reencode: Format that all images get; default: the one they have. An image
            that need not change keeps its bytes.
        jpeg_quality: Quality of images that are written anew as JPEG or WebP, up to
            95.
        audio_to_wav: Write sounds that are not plain WAV, such as FLAC and Ogg, as WAV
            of 16 bit: kmmft's models read no other. They become larger.
        min_side: Leave out images with a side below this, in pixels.
        max_aspect_ratio: Leave out images whose longer side is more than this many
            times the shorter.
        min_words: Leave out captions, texts or questions with fewer words.
        max_words: Leave out captions, texts or questions with more words.
        language: Leave out captions, texts or questions that surely are in another
            language than this, such as en; needs kmmft[language].
        drop_duplicate_captions: Leave out captions that another record has, but for
            case and white space.
        group_near_duplicates: Keep images that look nearly alike in one split. Where
            the source names the splits, those for training that look like one for
            validation or test are left out. Reads all images first.
        filter: Called from Python with each record as a dict, its image as encoded
            bytes; False leaves it out. Must depend on the record only.
        check_images: Decode every image, so that no broken one gets in.
        skip_bad: Leave bad rows out and list them in skipped.jsonl.
        num_workers: Threads that read, check and change images; default: one for
            each processor. What is written does not depend on it.
        runner: Apache Beam runner whose workers read and write, such as DirectRunner,
            DataflowRunner, FlinkRunner or SparkRunner; they must see the same files
            under the same paths. What is written is the same, if Pillow is. The rows
            are read here, at about 2 kB of memory each. Needs kmmft[beam].
        runner_options: Options of the runner, each as KEY=VALUE, or KEY for one
            without a value.
        dry_run: Show what would be written, and write nothing. Images are not opened.
        overwrite: Replace the dataset if it exists.

    Raises:
        ValueError: If an option is out of its range, or two exclude each other.

    Example:
        >>> BuildOptions(num_shards=0)
        Traceback (most recent call last):
        ...
        ValueError: num_shards must be 1 or more. Received: num_shards=0.
    """

    num_shards: int | None = None
    shard_megabytes: float | None = None
    max_side: int | None = None
    reencode: Literal["jpeg", "png", "webp"] | None = None
    jpeg_quality: int = 90
    audio_to_wav: bool = False
    min_side: int | None = None
    max_aspect_ratio: float | None = None
    min_words: int | None = None
    max_words: int | None = None
    language: str | None = None
    drop_duplicate_captions: bool = False
    group_near_duplicates: bool = False
    filter: Callable[[dict[str, Any]], bool] | None = None
    check_images: bool = True
    skip_bad: bool = False
    num_workers: int | None = None
    runner: str | None = None
    runner_options: tuple[str, ...] = ()
    dry_run: bool = False
    overwrite: bool = False

    def __post_init__(self):
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                bounds = f"{least} or more" if most == _ANY else f"{least} to {most}"
                raise ValueError(f"{name} must be {bounds}. Received: {name}={value}.")
        if self.num_shards is not None and self.shard_megabytes is not None:
            raise ValueError(
                "The number of shards follows from their size. Received: num_shards="
                f"{self.num_shards} and shard_megabytes={self.shard_megabytes}; give "
                "one of them."
            )
        if self.runner_options and not self.runner:
            raise ValueError(
                "runner_options are for a runner. Received: runner_options="
                f"{self.runner_options} and no runner; give one (--runner)."
            )
        if (self.min_words or 0) > (self.max_words or _ANY):
            raise ValueError(
                "min_words must not be above max_words. Received: min_words="
                f"{self.min_words}, max_words={self.max_words}."
            )

    @property
    def changes_images(self) -> bool:
        """Whether images are looked at for their size or format."""
        return bool(
            self.max_side or self.reencode or self.min_side or self.max_aspect_ratio
        )

    @property
    def filters_texts(self) -> bool:
        """Whether texts are looked at."""
        return (
            self.min_words is not None
            or self.max_words is not None
            or self.language is not None
            or self.drop_duplicate_captions
        )


_ANY = float("inf")
_RANGES = {
    "num_shards": (1, _ANY),
    "shard_megabytes": (0.001, _ANY),
    "max_side": (1, _ANY),
    "jpeg_quality": (1, 95),
    "min_side": (1, _ANY),
    "max_aspect_ratio": (1, _ANY),
    "min_words": (0, _ANY),
    "max_words": (1, _ANY),
    "num_workers": (1, _ANY),
}
