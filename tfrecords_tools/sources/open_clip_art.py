"""Open Clip Art: drawings with title and tags, from two Debian packages."""

import collections
import concurrent.futures
import dataclasses
import io
import logging
import os
import pathlib
import tempfile
import time
from collections.abc import Iterable, Sequence

import numpy as np

from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildPlan, BuildResult
from tfrecords_tools.near_duplicates import (
    HASH_SIDE,
    group_near_duplicates,
    perceptual_hash,
)
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.sources.open_clip_art_captions import (
    Drawing,
    read_drawing,
    series_of,
)
from tfrecords_tools.stable_hash import check_fractions, choose_split
from tfrecords_tools.write_records import write_records

# Titles of sets of icons ("Lemon SVG theme") do not tell what a picture shows.
MAX_TITLE_USES = 2
# 134 MB of decoded pixels.
MAX_PIXELS = 2**25

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A drawing, its path below `png/`, and once it is rendered its picture."""

    name: str
    drawing: Drawing
    image: pathlib.Path | None = None
    grey: np.ndarray | None = None

    def record(self, split: str, **values: object) -> SourceRecord:
        """The rendered picture with its name as id, and these other features."""
        place = (Place(self.name),)
        return SourceRecord(split, {"id": self.name, **values}, self.image, place)


def build_open_clip_art(
    *,
    output_dir: str | os.PathLike,
    name: str = "open_clip_art",
    source_dir: str = "/usr/share/openclipart",
    image_size: int = 256,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    options: BuildOptions = BuildOptions(),  # noqa: B008
) -> BuildResult | BuildPlan:
    """Writes Open Clip Art 0.18: about 2,100 drawings in the public domain.

    Records have the schema `image_text`. The captions of a drawing are its title
    ("Owl on Branch") and, if it has tags, its title with them ("Owl on Branch: bird,
    night"). Left out are links to other files, drawings without a title, titles that
    more than two drawings have, titles in other languages, and pictures of more than
    33 million pixels. Pictures are drawn on white and made small.

    Pictures that look nearly alike, and those whose titles differ only in numbers and
    in brackets ("Hot Dog (B and W)"), are in the same split; shares of the splits hold
    for such groups, so for records they are near.

    Args:
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the dataset.
        source_dir: Directory with png/ and svg/, where the packages put them.
        image_size: Longest side of the pictures that are written.
        validation_fraction: Share for validation.
        test_fraction: Share for test.
        options: What all sources share; see `BuildOptions`.

    Returns:
        Directory, counts by split, size and time; for a dry run, what would be
        written.

    Raises:
        ValueError: If the packages are missing, a file is bad, or the dataset exists.

    References:
        - [Open Clip Art Library](https://openclipart.org).
    """
    from kmmft.data import schema

    started = time.perf_counter()
    check_fractions(validation_fraction, test_fraction)
    if image_size < 1:
        raise ValueError(
            "image_size must be at least 1. Received: "
            f"image_size={image_size}; 256 is usual."
        )
    source = pathlib.Path(source_dir)
    bad_rows = BadRows(options.skip_bad)
    chosen = _choose(_read_drawings(source, bad_rows))
    with tempfile.TemporaryDirectory() as folder:
        pictures = render_pictures(
            source, chosen, pathlib.Path(folder), image_size, bad_rows
        )
        splits = _splits(pictures, validation_fraction, test_fraction)
        records = [
            picture.record(split, captions=picture.drawing.captions())
            for picture, split in zip(pictures, splits, strict=True)
        ]
        return write_records(
            records,
            bad_rows,
            output_dir=output_dir,
            name=name,
            features=schema.image_text(),
            options=options,
            started=started,
            scratch=folder,
            description="Open Clip Art 0.18: drawings with title and tags, public "
            "domain.",
        )


def _read_drawings(source: pathlib.Path, bad_rows: BadRows) -> list[Picture]:
    root = source / "png"
    files = sorted(root.rglob("*.png"))
    if not files or not (source / "svg").is_dir():
        raise ValueError(
            "Open Clip Art comes from two Debian packages, with png/ and svg/. "
            f"Received: source_dir={str(source)!r} without them; run `apt-get install "
            "openclipart-png openclipart-svg`, or give the directory where they are."
        )
    pictures = []
    for file in files:
        if file.is_symlink():
            continue
        name = file.relative_to(root).as_posix()
        try:
            drawing = read_drawing((source / "svg" / name).with_suffix(".svg"))
        except ValueError as error:
            bad_rows.add(Place(name), str(error))
            continue
        pictures.append(Picture(name, drawing))
    return pictures


def _choose(pictures: Sequence[Picture]) -> list[Picture]:
    titled = [picture for picture in pictures if picture.drawing.title]
    english = [picture for picture in titled if picture.drawing.is_english]
    uses = collections.Counter(_title_key(picture) for picture in english)
    chosen = [
        picture for picture in english if uses[_title_key(picture)] <= MAX_TITLE_USES
    ]
    _logger.info(
        "Open Clip Art: %d drawings, %d with a title, %d of them in English, %d of "
        "these with a title that at most %d have",
        len(pictures),
        len(titled),
        len(english),
        len(chosen),
        MAX_TITLE_USES,
    )
    return chosen


def _title_key(picture: Picture) -> str:
    return picture.drawing.title.lower()


def render_pictures(
    source: pathlib.Path,
    pictures: Sequence[Picture],
    folder: pathlib.Path,
    image_size: int,
    bad_rows: BadRows,
) -> list[Picture]:
    """Draws the pictures into a folder; without those that are bad or too large."""

    def render(numbered: tuple[int, Picture]) -> Picture | ValueError | None:
        number, picture = numbered
        try:
            return _render(
                source / "png" / picture.name, picture, folder, number, image_size
            )
        except (OSError, ValueError, SyntaxError) as error:
            return ValueError(
                f"The picture {picture.name!r} cannot be read ({error}); install "
                "openclipart-png again."
            )

    rendered = []
    with concurrent.futures.ThreadPoolExecutor() as pool:
        results: Iterable = pool.map(render, enumerate(pictures))
        for picture, result in zip(pictures, results, strict=True):
            if isinstance(result, ValueError):
                bad_rows.add(Place(picture.name), str(result))
            elif result is not None:
                rendered.append(result)
    _logger.info("Open Clip Art: %d pictures left", len(rendered))
    return rendered


def _render(
    file: pathlib.Path,
    picture: Picture,
    folder: pathlib.Path,
    number: int,
    image_size: int,
) -> Picture | None:
    import PIL.Image
    import PIL.PngImagePlugin

    # Not `PIL.Image.open`, which warns of the largest, or refuses them.
    with file.open("rb") as stream, PIL.PngImagePlugin.PngImageFile(stream) as opened:
        if opened.width * opened.height > MAX_PIXELS:
            return None
        image = opened.convert("RGBA")
    image.thumbnail((image_size, image_size), PIL.Image.Resampling.LANCZOS)
    white = PIL.Image.new("RGBA", image.size, "white")
    flat = PIL.Image.alpha_composite(white, image).convert("RGB")
    stream = io.BytesIO()
    flat.save(stream, "PNG")
    path = folder / f"{number}.png"
    path.write_bytes(stream.getvalue())
    side = 4 * HASH_SIDE
    small = flat.convert("L").resize((side, side), PIL.Image.Resampling.LANCZOS)
    return dataclasses.replace(picture, image=path, grey=np.asarray(small))


def _splits(
    pictures: Sequence[Picture], validation_fraction: float, test_fraction: float
) -> list[str]:
    """The split of each picture, the same for near-duplicates and for a series."""
    if not pictures:
        return []
    hashes = np.stack([perceptual_hash(picture.grey) for picture in pictures])
    series = [series_of(picture.drawing.title) for picture in pictures]
    groups = group_near_duplicates(hashes, [series])
    _logger.info("Open Clip Art: %d groups of near-duplicates", len(set(groups)))
    return [
        choose_split(pictures[group].name, validation_fraction, test_fraction)
        for group in groups
    ]
