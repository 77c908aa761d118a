"""Drawn shapes and easy-VQA, as records that are built the first time."""

import functools
import pathlib

import kmmft
import tfrecords_tools


def drawn_shapes(
    folder: pathlib.Path, name: str = "shapes", **columns: str
) -> pathlib.Path:
    """Small pictures that are drawn on the spot.

    Args:
        folder: Where they go.
        name: Of the records.
        **columns: Columns of the shapes' manifest, as for `build_manifest`, beside
            image and split.

    Returns:
        The directory of the records.
    """
    directory = folder / name / "1.0.0"
    if not directory.exists():
        tfrecords_tools.build_manifest(
            manifest=kmmft.data.write_colored_shapes(folder / "pictures"),
            output_dir=folder,
            name=name,
            image_column="image",
            split_column="split",
            **columns,
        )
    return directory


def easy_vqa(name: str = "easy_vqa") -> pathlib.Path:
    """The pip package easy-vqa: easy_vqa (its questions), easy_vqa_captions or
    easy_vqa_classes.

    Returns:
        The directory of the records, below `data`.
    """
    directory = pathlib.Path("data", name, "1.0.0")
    if not directory.exists():
        captions = tfrecords_tools.build_easy_vqa_captions
        build = {
            "easy_vqa": tfrecords_tools.build_easy_vqa,
            "easy_vqa_captions": captions,
            "easy_vqa_classes": functools.partial(captions, labelled=True),
        }[name]
        build(output_dir="data", name=name)
    return directory
