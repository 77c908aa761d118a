"""Small clips of one coloured shape that moves: videos to try things out on."""

import csv
import itertools
import os
import pathlib

import numpy as np

COLORS = {"red": (220, 30, 30), "green": (20, 150, 60), "blue": (40, 60, 220)}
SHAPES = ("circle", "square")
# The second direction of a pair is the first one backwards.
DIRECTIONS = (("left", "right"), ("up", "down"))
REPEATS = {"train": 32, "validation": 1, "test": 1}


def write_moving_shapes(
    folder: str | os.PathLike,
    image_size: int = 32,
    num_frames: int = 8,
    train_repeats: int = REPEATS["train"],
) -> str:
    """Draws clips such as "a red circle moves left", and lists them in a CSV file.

    Each clip comes with its reverse, which has the same frames and the opposite
    caption. So whoever looks at the frames but not at their order can tell all clips
    apart except those two: it finds the right caption half the time. Validation and
    test split have each caption once.

    Args:
        folder: Where the clips (GIF) and `clips.csv` go; made if it is not there.
        image_size: Height and width of the clips.
        num_frames: Frames of a clip, 2 or more.
        train_repeats: Training clips of each caption.

    Returns:
        The path of the CSV file, with columns `id`, `split`, `video` and `caption`.

    Raises:
        ValueError: If a clip cannot be that small.

    Example:
        >>> path = kmmft.data.write_moving_shapes("clips", train_repeats=1)
        >>> with open(path) as file:
        ...     file.readline().strip()
        'id,split,video,caption'
    """
    if num_frames < 2 or image_size < 8 or train_repeats < 1:
        raise ValueError(
            "Clips need `num_frames` of at least 2, `image_size` of at least 8 and "
            "`train_repeats` of at least 1. Received: "
            f"num_frames={num_frames}, image_size={image_size}, "
            f"train_repeats={train_repeats}."
        )
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, repeats in {**REPEATS, "train": train_repeats}.items():
        every = itertools.product(range(repeats), COLORS, SHAPES, DIRECTIONS)
        for repeat, color, shape, pair in every:
            frames = _draw(color, shape, pair, image_size, num_frames, seed=len(rows))
            for direction, clip in zip(pair, (frames, frames[::-1]), strict=True):
                name = f"{split}-{repeat}-{color}-{shape}-{direction}"
                _write_gif(folder / f"{name}.gif", clip)
                rows.append(
                    {
                        "id": name,
                        "split": split,
                        "video": f"{name}.gif",
                        "caption": f"a {color} {shape} moves {direction}",
                    }
                )
    path = folder / "clips.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def _draw(
    color: str, shape: str, pair: tuple[str, str], size: int, count: int, seed: int
) -> list[np.ndarray]:
    """Frames of a shape that goes through the whole picture, left or up."""
    random = np.random.default_rng(seed)
    radius = random.uniform(0.15, 0.25) * size
    along = np.linspace(size - radius, radius, count)
    across = random.uniform(radius, size - radius)
    axis = 1 if "left" in pair else 0
    frames = []
    for place in along:
        center = np.full(2, across)
        center[axis] = place
        away = np.abs(np.indices((size, size)).transpose(1, 2, 0) + 0.5 - center)
        inside = away.max(-1) < radius
        if shape == "circle":
            inside = np.hypot(*away.transpose(2, 0, 1)) < radius
        frame = np.full((size, size, 3), 245, np.uint8)
        frame[inside] = COLORS[color]
        frames.append(frame)
    return frames


def _write_gif(path: pathlib.Path, frames: list[np.ndarray]) -> None:
    import PIL.Image

    first, *others = (PIL.Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=others, duration=100, loop=0)
