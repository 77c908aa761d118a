"""The records of pictures with captions, which a recipe may build itself."""

import pathlib

import kmmft
import tfrecords_tools

from .settings import PairsConfig


def open_pairs(
    config: PairsConfig, class_names: bool = False
) -> kmmft.data.RecordSource:
    """Opens `--data`, or builds records of the manifest below the run directory.

    Args:
        config: The recipe's settings.
        class_names: Whether the records are labelled images, and the manifest's
            captions names of classes.

    Raises:
        ValueError: Unless either data or a manifest are given, and train, validation
            and test have records.
    """
    kmmft.training.check_one_source(manifest=config.manifest, data=config.data)
    schema = kmmft.data.schema.image_text()
    if class_names:
        schema = kmmft.data.schema.labelled(text=False, class_names=["any"])
    folder = pathlib.Path(config.output_dir, "data")
    directory = config.data or folder / "pairs/1.0.0"
    if not (config.data or directory.exists()):
        _build(config, folder, class_names)
    return kmmft.data.check_splits(kmmft.data.open_source(directory, schema))


def _build(config: PairsConfig, folder: pathlib.Path, class_names: bool) -> None:
    options = tfrecords_tools.BuildOptions(skip_bad=config.skip_bad)
    if config.manifest == "open_clip_art":
        tfrecords_tools.build_open_clip_art(
            output_dir=folder, name="pairs", options=options
        )
        return
    if config.manifest == "easy_vqa":
        tfrecords_tools.build_easy_vqa_captions(output_dir=folder, name="pairs")
        return
    manifest = config.manifest
    if manifest == "shapes":
        manifest = kmmft.data.write_colored_shapes(folder / "pictures")
    column = "label_column" if class_names else "caption_column"
    tfrecords_tools.build_manifest(
        manifest=manifest,
        output_dir=folder,
        name="pairs",
        image_column=config.image_column,
        split_column=config.split_column or None,
        options=options,
        **{column: config.caption_column},
    )
