"""Checks what a `DatasetWriter` is given."""

import pathlib
import re


def check_arguments(
    name: str, version: str, num_shards: int | dict[str, int] | None
) -> None:
    """Raises ValueError if a dataset cannot be called so, or cut so.

    Args:
        name: Name of the dataset.
        version: Its version.
        num_shards: Shards per split.
    """
    if not re.fullmatch(r"[a-zA-Z]\w*", name, re.ASCII):
        raise ValueError(
            "name must be letters, digits and '_', and begin with a letter. "
            f"Received: name={name!r}; choose another name."
        )
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(
            "version must be three numbers such as '1.0.0'. "
            f"Received: version={version!r}."
        )
    numbers = num_shards.values() if isinstance(num_shards, dict) else [num_shards]
    for number in numbers:
        if number is not None and number < 1:
            raise ValueError(
                "num_shards must be 1 or more, or None for a number by size. "
                f"Received: num_shards={num_shards}."
            )


def check_place(directory: pathlib.Path, overwrite: bool) -> None:
    """Raises ValueError if something is there that must stay.

    Args:
        directory: Directory of the dataset.
        overwrite: Whether a dataset may be replaced.
    """
    if not directory.exists():
        return
    if not overwrite:
        raise ValueError(
            f"The dataset must not be there yet. Received: {directory}, which "
            "exists; pass overwrite=True (--overwrite) or choose another name."
        )
    if not (directory / "dataset_info.json").exists():
        raise ValueError(
            "Only a dataset is ever overwritten. Received: "
            f"{directory}, which holds no dataset_info.json; delete it "
            "yourself or choose another name."
        )
