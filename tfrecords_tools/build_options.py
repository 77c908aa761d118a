"""What every build lets its user choose, whatever the source."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class BuildOptions:
    """Options that all sources share.

    Attributes:
        num_shards: Files per split; default: by size and number of records.
        shard_megabytes: Size of a file, about, in place of num_shards; 100 to 200 is
            usual for large sets.
        check_images: Decode every image, so that no broken one gets in.
        skip_bad: Leave bad rows out and list them in skipped.jsonl.
        num_workers: Threads that read, check and change images; default: one for
            each processor. What is written does not depend on it.
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
    check_images: bool = True
    skip_bad: bool = False
    num_workers: int | None = None
    overwrite: bool = False

    def __post_init__(self):
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(
                    f"{name} must be {least} or more. Received: {name}={value}."
                )
        if self.num_shards is not None and self.shard_megabytes is not None:
            raise ValueError(
                "The number of shards follows from their size. Received: num_shards="
                f"{self.num_shards} and shard_megabytes={self.shard_megabytes}; give "
                "one of them."
            )


_LEAST = {"num_shards": 1, "shard_megabytes": 0.001, "num_workers": 1}
