"""Shows records of a data directory on one page."""

import base64
import dataclasses
import io
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kmmft.data.framing import read_frames
from tfrecords_tools.record_values import kinds_of, record_values

if TYPE_CHECKING:
    import tensorflow as tf

_TEMPLATE = pathlib.Path(__file__).with_name("preview.html.jinja")
_SIDE = 200
_FRAMES = 8
_FRAME_MILLISECONDS = 250


@dataclasses.dataclass(frozen=True)
class Card:
    """What the page shows of one record.

    Attributes:
        split: Its split.
        id: Its id.
        picture: Address that holds its picture; None if it has none.
        problem: Why there is no picture; None if there is one, or should be none.
        labels: Names of its classes.
        texts: Its texts by feature.
    """

    split: str
    id: str
    picture: str | None
    problem: str | None
    labels: list[str]
    texts: dict[str, list[str]]


@dataclasses.dataclass(frozen=True)
class PreviewResult:
    """The page that was written.

    Attributes:
        page: Its path.
        num_records: Records on it, by split.
    """

    page: pathlib.Path
    num_records: dict[str, int]

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {n:,}" for name, n in self.num_records.items())
        size = self.page.stat().st_size / 1e6
        return f"{self.page}: {counts} records, {size:.1f} MB"


def preview_data(
    *,
    data: str | pathlib.Path,
    output: str | pathlib.Path = "preview.html",
    per_split: int = 60,
    seed: int = 0,
) -> PreviewResult:
    """Writes a page with small pictures, texts and labels of some records.

    The page needs no other file and no network. It can be searched, and filtered by
    split and label. A picture that cannot be decoded says so in its place.

    Args:
        data: Data directory (NAME/1.0.0, or NAME if there is one version).
        output: The HTML file to write; replaced if it exists.
        per_split: Records to show of each split, drawn at random.
        seed: Another seed draws other records.

    Returns:
        The page's path and how much is on it.

    Raises:
        ValueError: If it is no data directory, or there is nothing to show.
    """
    import jinja2

    from kmmft.data import open_source

    if per_split < 1:
        raise ValueError(
            f"per_split must be 1 or more. Received: per_split={per_split}."
        )
    source = open_source(data)
    cards = [
        _card(split.name, source.features, example)
        for split in source.splits.values()
        for example in _drawn(split, per_split, seed)
    ]
    template = jinja2.Environment(autoescape=True).from_string(
        _TEMPLATE.read_text(encoding="utf-8")
    )
    page = pathlib.Path(output)
    temporary = page.with_name(f".{page.name}.{os.getpid()}")
    counts = {name: split.num_records for name, split in source.splits.items()}
    temporary.write_text(
        template.render(
            title="/".join(pathlib.Path(source.path).parts[-2:]),
            cards=cards,
            counts=counts,
            labels=sorted({label for card in cards for label in card.labels}),
        ),
        encoding="utf-8",
    )
    temporary.replace(page)
    shown = {name: sum(card.split == name for card in cards) for name in source.splits}
    return PreviewResult(page, shown)


def _drawn(split: Any, count: int, seed: int) -> Iterator["tf.train.Example"]:
    """Some records of a split, in their order."""
    import tensorflow as tf

    count = min(count, split.num_records)
    places = np.random.default_rng(seed).choice(split.num_records, count, False)
    wanted, number = set(places.tolist()), 0
    for file in split.files:
        for frame in read_frames(file):
            if number in wanted and frame.payload is not None:
                yield tf.train.Example.FromString(frame.payload)
            number += 1


def _card(split: str, features: Any, example: "tf.train.Example") -> Card:
    values, kinds = record_values(example, features), kinds_of(features)
    picture = problem = None
    labels, texts = [], {}
    for name, value in values.items():
        found = value if kinds[name].endswith("s") else [value]
        found = [one for one in found if one is not None]
        if kinds[name].startswith("image"):
            try:
                # An empty one is missing.
                picture = thumbnail([encoded for encoded in found if encoded])
            except (OSError, ValueError) as error:
                problem = f"{name} cannot be decoded: {error}"
        elif kinds[name].startswith("label"):
            labels += found
        elif kinds[name].startswith("text") and name != "id":
            texts[name] = found
    return Card(split, values.get("id") or "", picture, problem, labels, texts)


def thumbnail(images: Sequence[bytes]) -> str | None:
    """A small picture, which moves if there are several images, as an address.

    Args:
        images: Encoded images.

    Returns:
        A `data:` address, or None without images.

    Raises:
        OSError: If one cannot be decoded.
    """
    import PIL.Image

    frames = []
    for encoded in [*images][:: max(1, len(images) // _FRAMES)]:
        with PIL.Image.open(io.BytesIO(encoded)) as image:
            # A JPEG can be read smaller than it is.
            image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
            frame = image.convert("RGBA")
        frame.thumbnail((_SIDE, _SIDE))
        white = PIL.Image.new("RGBA", frame.size, "white")
        frames.append(PIL.Image.alpha_composite(white, frame).convert("RGB"))
    if not frames:
        return None
    stream, moving = io.BytesIO(), {}
    if len(frames) > 1:
        moving = {"save_all": True, "append_images": frames[1:], "loop": 0}
        moving["duration"] = _FRAME_MILLISECONDS
    frames[0].save(stream, "WEBP", quality=80, **moving)
    encoded = base64.b64encode(stream.getvalue()).decode("ascii")
    return f"data:image/webp;base64,{encoded}"
