"""Flags of every recipe on pictures with captions."""

import dataclasses

import kmmft


@dataclasses.dataclass(frozen=True)
class PairsConfig(kmmft.training.RecipeConfig):
    """A recipe's own `Config` adds its own."""

    manifest: str = ""
    """CSV, TSV or JSONL file of pairs, in place of --data. shapes: small pictures that
    are drawn on the spot; easy_vqa: pictures of the pip package easy-vqa;
    open_clip_art: drawings from two Debian packages."""
    image_column: str = "image"
    """Column of image paths, relative to the file."""
    caption_column: str = "caption"
    """Column of captions."""
    split_column: str = ""
    """Column of train, validation and test; without one, by a hash of the image."""
