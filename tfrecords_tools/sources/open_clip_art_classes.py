"""Open Clip Art as labelled pictures: the folders of the collection are the classes."""

import collections
import logging
import os
import pathlib
import tempfile
import time
from collections.abc import Mapping, Sequence

import numpy as np

from tfrecords_tools.bad_rows import BadRows
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildResult
from tfrecords_tools.near_duplicates import group_near_duplicates, perceptual_hash
from tfrecords_tools.sources.open_clip_art import Picture, render_pictures
from tfrecords_tools.sources.open_clip_art_captions import (
    Drawing,
    read_drawing,
    series_of,
)
from tfrecords_tools.stable_hash import in_hash_order
from tfrecords_tools.write_records import write_records

# Folders below png/. Each class has 60 pictures or more that are no near-duplicates.
CLASSES = {
    "animal": ("animals",),
    "flag": ("signs_and_symbols/flags",),
    "food": ("food",),
    "map": ("geography",),
    "office": ("office", "education"),
    "person": ("people",),
    "tool": ("tools",),
    "vehicle": ("transportation",),
}
# Other pictures, to see what an encoder still knows about them. Each has 24 or more.
OTHER_CLASSES = {
    "building": ("buildings",),
    "computer": ("computer/hardware",),
    "icon": ("computer/icons",),
    "music": ("recreation/music",),
    "pattern": ("special/patterns",),
    "plant": ("plants",),
}
# Signs and smileys look like neither vehicles nor people.
_LEFT_OUT = ("transportation/roadsigns", "people/smilies")

_logger = logging.getLogger(__name__)


def build_open_clip_art_classes(
    *,
    output_dir: str | os.PathLike,
    name: str = "open_clip_art_classes",
    classes: Mapping[str, Sequence[str]] | None = None,
    validation_per_class: int = 10,
    test_per_class: int = 30,
    max_per_class: int = 500,
    source_dir: str = "/usr/share/openclipart",
    image_size: int = 128,
    titles: bool = False,
    overwrite: bool = False,
) -> BuildResult:
    """Writes pictures of Open Clip Art 0.18 with their folder as class.

    Records have the schema `labelled(text=False)`, or with titles also `text`, which is
    empty where a drawing has none. Validation and test have equally
    many pictures of each class; the others are for training. Pictures that look
    nearly alike, and those whose titles differ only in numbers, make a group: no
    group is in two splits, and in validation and test a group is one picture. Links
    to other files are left out.

    Args:
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the dataset.
        classes: Folders below png/ by class; default: eight kinds of things.
        validation_per_class: Pictures of each class for validation.
        test_per_class: Pictures of each class for test.
        max_per_class: Pictures of a class to look at.
        source_dir: Directory with png/ and svg/, where the packages put them.
        image_size: Longest side of the pictures that are written.
        titles: Whether to write the drawings' titles, as their authors gave them.
        overwrite: Replace the dataset if it exists.

    Returns:
        Directory, counts by split, size and time.

    Raises:
        ValueError: If the packages are missing, a class has too few pictures, or the
            dataset exists.

    References:
        - [Open Clip Art Library](https://openclipart.org).
    """
    from kmmft.data import schema

    started = time.perf_counter()
    classes = dict(CLASSES if classes is None else classes)
    source = pathlib.Path(source_dir)
    class_of = _class_of(source, classes, max_per_class)
    bad_rows = BadRows(skip_bad=True)
    drawings = [Picture(file, _drawing(source, file)) for file in class_of]
    with tempfile.TemporaryDirectory() as folder:
        pictures = render_pictures(
            source, drawings, pathlib.Path(folder), image_size, bad_rows
        )
        split_of = choose_splits(
            {picture.name: class_of[picture.name] for picture in pictures},
            _groups(pictures),
            validation_per_class,
            test_per_class,
        )
        records = [
            picture.record(
                split_of[picture.name],
                label=class_of[picture.name],
                **({"text": picture.drawing.title} if titles else {}),
            )
            for picture in pictures
            if picture.name in split_of
        ]
        return write_records(
            records,
            bad_rows,
            output_dir=output_dir,
            name=name,
            features=schema.labelled(text=titles, class_names=list(classes)),
            options=BuildOptions(
                check_images=False, skip_bad=True, overwrite=overwrite
            ),
            started=started,
            scratch=folder,
            description="Open Clip Art 0.18: drawings by kind of thing, public domain.",
        )


def choose_splits(
    class_of: Mapping[str, str],
    groups: Sequence[int],
    validation_per_class: int,
    test_per_class: int,
) -> dict[str, str]:
    """Balanced validation and test, one picture of a group; the rest is for training.

    Args:
        class_of: Class of each picture, by name.
        groups: The near-duplicate group of each picture.
        validation_per_class: Pictures of each class for validation.
        test_per_class: Pictures of each class for test.

    Returns:
        Split by name. The twins of a picture in validation or test have none. A group
        with pictures of several classes is for training.

    Raises:
        ValueError: If a class has too few groups.

    Example:
        >>> classes = {"a": "x", "b": "x", "c": "y", "d": "y"}
        >>> splits = choose_splits(classes, [0, 1, 2, 3], 0, 1)
        >>> sorted(splits.values())
        ['test', 'test', 'train', 'train']
    """
    members = collections.defaultdict(list)
    for name, group in zip(class_of, groups, strict=True):
        members[group].append(name)
    pure = collections.defaultdict(list)
    split_of = {}
    for names in members.values():
        owners = {class_of[name] for name in names}
        if len(owners) == 1:
            pure[owners.pop()].append(names)
        else:
            split_of |= dict.fromkeys(names, "train")
    wanted = ["test"] * test_per_class + ["validation"] * validation_per_class
    for owner in dict.fromkeys(class_of.values()):
        found = in_hash_order(pure[owner], lambda names: names[0])
        if len(found) <= len(wanted):
            raise ValueError(
                f"A class needs more than {len(wanted)} different pictures. Received: "
                f"{len(found)} of {owner!r}. Ask for fewer in validation and test."
            )
        for number, names in enumerate(found):
            if number < len(wanted):
                split_of[names[0]] = wanted[number]
            else:
                split_of |= dict.fromkeys(names, "train")
    return split_of


def _class_of(
    source: pathlib.Path, classes: Mapping[str, Sequence[str]], max_per_class: int
) -> dict[str, str]:
    """Class by file below png/, in the order of the classes."""
    root = source / "png"
    found = {}
    for name, folders in classes.items():
        files = [
            file.relative_to(root).as_posix()
            for folder in folders
            for file in sorted((root / folder).rglob("*.png"))
            if not file.is_symlink()
        ]
        files = [file for file in files if not file.startswith(_LEFT_OUT)]
        if not files:
            raise ValueError(
                "Open Clip Art comes from two Debian packages, with png/ and svg/. "
                f"Received: source_dir={str(source)!r} without pictures of {name!r}; "
                "run `apt-get install openclipart-png openclipart-svg`, or give the "
                "directory where they are."
            )
        chosen = in_hash_order(files, str)[:max_per_class]
        found |= dict.fromkeys(chosen, name)
    return found


def _drawing(source: pathlib.Path, file: str) -> Drawing:
    try:
        return read_drawing((source / "svg" / file).with_suffix(".svg"))
    except ValueError:
        # The title only tells series; the folder tells the class.
        return Drawing("", (), True)


def _groups(pictures: Sequence[Picture]) -> list[int]:
    hashes = np.stack([perceptual_hash(picture.grey) for picture in pictures])
    series = [series_of(picture.drawing.title) or picture.name for picture in pictures]
    groups = group_near_duplicates(hashes, [series])
    _logger.info(
        "Open Clip Art: %d pictures in %d groups", len(groups), len(set(groups))
    )
    return groups
