"""Vectors with names and pictures for TensorBoard's embedding projector."""

import os
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from kmmft.metrics import unit_vectors
from kmmft.training.whole_files import write_whole

# Browsers draw no larger textures.
MAX_SPRITE_PIXELS = 8192


def write_projector(
    log_dir: str | os.PathLike,
    vectors: np.ndarray,
    labels: Sequence[str] | Mapping[str, Sequence],
    images: Sequence[bytes | np.ndarray] | None = None,
    *,
    name: str = "vectors",
    image_size: int = 64,
) -> pathlib.Path:
    """Writes vectors for the "Projector" tab of TensorBoard.

    Open with `tensorboard --logdir LOG_DIR`. The browser holds all of it: a few
    thousand vectors are pleasant, and 10,000 are many. Other projections in the same
    directory stay, unless they are of this name.

    Args:
        log_dir: Directory; made if it is not there.
        vectors: float array `(number, dim)`, of any lengths.
        labels: A label for each vector, or several columns of them by name.
        images: A picture for each vector: encoded, or pixels in [0, 255], `(height,
            width)` or `(height, width, 1 or 3)`.
        name: What to call these vectors.
        image_size: Height and width of the pictures that are shown.

    Returns:
        Path of the file that TensorBoard reads first.

    Raises:
        ValueError: If the lengths differ, the name is not one for a file, or the
            pictures are too many for one texture.

    Example:
        >>> path = kmmft.evaluation.write_projector(
        ...     "logs", np.eye(2), labels=["a cat", "a dog"]
        ... )
        >>> path.name
        'projector_config.pbtxt'
    """
    from google.protobuf import text_format
    from tensorboard.plugins import projector

    vectors = unit_vectors("vectors", vectors)
    columns = dict(labels) if isinstance(labels, Mapping) else {"label": labels}
    _check(vectors, columns, images, name, image_size)
    path = pathlib.Path(log_dir)
    path.mkdir(parents=True, exist_ok=True)
    (path / f"{name}.bytes").write_bytes(vectors.tobytes())
    (path / f"{name}_labels.tsv").write_text(_table(columns), encoding="utf-8")
    config_file = path / "projector_config.pbtxt"
    config = projector.ProjectorConfig()
    if config_file.exists():
        text_format.Parse(config_file.read_text(encoding="utf-8"), config)
    others = [other for other in config.embeddings if other.tensor_name != name]
    del config.embeddings[:]
    config.embeddings.extend(others)
    embedding = config.embeddings.add(
        tensor_name=name,
        tensor_path=f"{name}.bytes",
        tensor_shape=vectors.shape,
        metadata_path=f"{name}_labels.tsv",
    )
    if images is not None:
        sprite = _sprite(images, image_size)
        (path / f"{name}_pictures.png").write_bytes(sprite)
        embedding.sprite.image_path = f"{name}_pictures.png"
        embedding.sprite.single_image_dim.extend([image_size, image_size])
    return write_whole(config_file, text_format.MessageToString(config))


def _table(columns: Mapping[str, Sequence]) -> str:
    """Labels as TSV: one column stands without a header, several with."""
    rows = zip(*columns.values(), strict=True)
    if len(columns) > 1:
        rows = [tuple(columns), *rows]
    # A tab or a new line would begin another cell, and no label an empty line.
    return "".join(
        "\t".join(re.sub(r"\s+", " ", str(cell)).strip() or "-" for cell in row) + "\n"
        for row in rows
    )


def _sprite(images: Sequence[bytes | np.ndarray], size: int) -> bytes:
    """All pictures in one square PNG, row by row, as the projector cuts it."""
    side = _pictures_a_row(len(images))
    sheet = np.full((side * size, side * size, 3), 255, np.uint8)
    for number, image in enumerate(images):
        top, left = (place * size for place in divmod(number, side))
        sheet[top : top + size, left : left + size] = _thumbnail(image, size)
    return tf.io.encode_png(sheet).numpy()


def _thumbnail(image: bytes | np.ndarray, size: int) -> np.ndarray:
    if isinstance(image, bytes):
        image = tf.io.decode_image(image, channels=3, expand_animations=False)
    elif image.ndim == 2:
        image = image[..., np.newaxis]
    resized = tf.image.resize_with_pad(image, size, size, antialias=True)
    return np.clip(np.rint(resized.numpy()), 0, 255).astype(np.uint8)


def _pictures_a_row(number: int) -> int:
    return int(np.ceil(np.sqrt(number)))


def _check(vectors, columns, images, name, image_size) -> None:
    lengths = {column: len(values) for column, values in columns.items()}
    if images is not None:
        lengths["images"] = len(images)
    if set(lengths.values()) != {len(vectors)}:
        raise ValueError(
            f"There must be one of each for {len(vectors)} vectors. "
            f"Received: {lengths}."
        )
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(
            "`name` must be one for a file: letters, digits, '_', '.', '-'. "
            f"Received: name={name!r}."
        )
    if images is None:
        return
    pixels = _pictures_a_row(len(images)) * image_size
    if image_size < 1 or pixels > MAX_SPRITE_PIXELS:
        raise ValueError(
            f"All pictures must fit in {MAX_SPRITE_PIXELS} x {MAX_SPRITE_PIXELS} "
            f"pixels. Received: {len(images)} of image_size={image_size}, which take "
            f"{pixels}. Lower `image_size`, or pass fewer vectors."
        )
