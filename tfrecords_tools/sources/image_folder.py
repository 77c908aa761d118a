"""Builds a data directory from images in folders, with classes or captions."""

import collections
import logging
import os
import pathlib
import time
from typing import Any, Literal

from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildPlan, BuildResult
from tfrecords_tools.image_bytes import EXTENSIONS
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.sources.class_names import sorted_class_names
from tfrecords_tools.sources.path_captions import caption_in_path, side_car_captions
from tfrecords_tools.sources.split_names import split_name
from tfrecords_tools.stable_hash import check_fractions
from tfrecords_tools.write_records import write_records

_logger = logging.getLogger(__name__)

Captions = Literal["none", "sidecar", "path"]
_SPLITS = ("train", "validation", "test")


def build_image_folder(
    *,
    folder: str | pathlib.Path,
    output_dir: str | pathlib.Path,
    name: str,
    captions: Captions = "none",
    classes: bool | None = None,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    options: BuildOptions = BuildOptions(),  # noqa: B008
) -> BuildResult | BuildPlan:
    """Writes images that lie in folders: `cat/1.jpg`, `train/cat/1.jpg`, `1.jpg`.

    Without captions, an image lies in the folder of its class, and records have the
    schema `labelled`, without text. With captions, records are `image_text`; with
    captions and classes `labelled`, where the caption is the text. Classes are the
    sorted names of the folders. If all top folders are named like splits (train,
    validation, val, valid, dev, test), they are the splits; otherwise images are split
    by a hash of their path. Images are those that end in jpg, jpeg, png, webp, gif or
    bmp. (TFDS's own decoding knows no WebP: read such sets with `kmmft.data`.)

    Args:
        folder: Folder with the images, or with a folder per class or split.
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the dataset.
        captions: sidecar: the lines of `1.txt` beside `1.jpg`, each a caption (with
            classes, all of them one text); path: the words in the image's name, or in
            its folder's if it has none.
        classes: Whether folders are classes; default: without captions.
        validation_fraction: Share for validation, if folders do not say.
        test_fraction: Share for test, if folders do not say.
        options: What all sources share; see `BuildOptions`.

    Returns:
        Directory, counts by split, size and time; for a dry run, what would be
        written.

    Raises:
        ValueError: If the folders are not as described, an image is bad, or the
            dataset exists.
    """
    from kmmft.data import schema

    started = time.perf_counter()
    check_fractions(validation_fraction, test_fraction)
    with_classes = captions == "none" if classes is None else classes
    if captions == "none" and not with_classes:
        raise ValueError(
            "Images need classes or captions. Received: captions='none', "
            "classes=False; choose one."
        )
    root = pathlib.Path(folder)
    images = _find_images(root, captions)
    with_splits = _has_split_folders(root, images, with_classes)
    bad_rows, records = BadRows(options.skip_bad), []
    for path in images:
        parts = path.relative_to(root).parts
        place = Place("/".join(parts))
        split = split_name(parts[0]) if with_splits else None
        inside = parts[1:] if with_splits else parts
        try:
            values = _texts(path, pathlib.Path(*inside), captions, with_classes)
        except ValueError as error:
            bad_rows.add(place, str(error))
            continue
        values |= {"id": place.file} | ({"label": inside[0]} if with_classes else {})
        records.append(SourceRecord(split, values, path, (place,)))
    features = schema.image_text()
    if with_classes:
        class_names = sorted_class_names(record.values["label"] for record in records)
        features = schema.labelled(text=captions != "none", class_names=class_names)
    return write_records(
        records,
        bad_rows,
        output_dir=output_dir,
        name=name,
        features=features,
        options=options,
        started=started,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
    )


def _texts(
    path: pathlib.Path, inside: pathlib.Path, captions: Captions, with_classes: bool
) -> dict[str, Any]:
    """The captions or the text of an image, as features."""
    if captions == "none":
        return {}
    in_path = captions == "path"
    found = [caption_in_path(inside)] if in_path else side_car_captions(path)
    return {"text": " ".join(found)} if with_classes else {"captions": found}


def _find_images(root: pathlib.Path, captions: Captions) -> list[pathlib.Path]:
    if not root.is_dir():
        raise ValueError(
            f"folder must be a directory. Received: {root}, which "
            f"{'is a file' if root.exists() else 'does not exist'}; mend the path."
        )
    images = []
    others: collections.Counter = collections.Counter()
    seen = set()
    for directory, folders, files in os.walk(root, followlinks=True):
        # A link may lead back to a folder above it.
        if os.path.realpath(directory) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(directory))
        # Names that begin with a dot are the system's, not the user's.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            path = pathlib.Path(directory, file)
            if path.suffix.lower().lstrip(".") in EXTENSIONS:
                images.append(path)
            elif captions == "sidecar" and path.suffix == ".txt":
                continue
            elif not file.startswith("."):
                others[path.suffix or file] += 1
    if others:
        _logger.warning(
            "Left alone %d files that are no images by their names: %s.",
            sum(others.values()),
            ", ".join(f"{count} {kind}" for kind, count in others.most_common(5)),
        )
    if not images:
        raise ValueError(
            f"folder must hold images ({', '.join(EXTENSIONS)}). Received: {root}, "
            "which holds none; mend the path."
        )
    return images


def _has_split_folders(
    root: pathlib.Path, images: list[pathlib.Path], with_classes: bool
) -> bool:
    tops = {path.relative_to(root).parts[0] for path in images}
    splits = {top for top in tops if split_name(top) in _SPLITS}
    if splits and splits != tops:
        raise ValueError(
            "The top folders must be all splits, or none of them. Received: "
            f"{', '.join(sorted(splits))} beside {', '.join(sorted(tops - splits)[:5])}"
            f" in {root}; move the others into the splits, or rename."
        )
    if not with_classes:
        return bool(splits)
    depth = 3 if splits else 2
    for path in images:
        inside = path.relative_to(root)
        if len(inside.parts) < depth:
            raise ValueError(
                "An image must lie in the folder of its class. Received: "
                f"{inside} in {root}; move it to "
                f"{'/'.join([*inside.parts[:-1], 'CLASS', inside.name])}."
            )
    return bool(splits)
