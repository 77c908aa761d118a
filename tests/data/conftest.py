"""Small data directories for the tests of the data room."""

import io

import numpy as np
import pytest
from PIL import Image

from kmmft.data import schema


def write_records(directory, features, splits, name="toy", shard_records=7):
    """Writes `{split: [record]}` as a TFDS directory and returns its version path."""
    import tensorflow_datasets as tfds

    path = directory / name / "1.0.0"
    path.mkdir(parents=True)
    info = tfds.core.DatasetInfo(
        builder=tfds.core.DatasetIdentity(
            name=name,
            version=tfds.core.Version("1.0.0"),
            data_dir=str(path),
            module_name="tests",
        ),
        features=features,
    )
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=shard_records)
    writer.initialize_splits(list(splits))
    writer.add_examples(splits)
    writer.close_all()
    return path


def encode(pixels, file_format="PNG", **options):
    """Encodes a uint8 array or a Pillow image."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def image_text_records(number, bad=()):
    """Records whose image is filled with their number; those in `bad` are broken."""
    return [
        {
            "id": f"r{i}",
            "image": b"no image"
            if i in bad
            else encode(np.full((8, 8, 3), i % 256, np.uint8)),
            "captions": ["a picture"] * (1 + i % 3),
        }
        for i in range(number)
    ]


@pytest.fixture(scope="session")
def toy_directory(tmp_path_factory):
    """60 training and 10 test records with images of one colour, in shards of 7."""
    return write_records(
        tmp_path_factory.mktemp("toy"),
        schema.image_text(),
        {"train": image_text_records(60), "test": image_text_records(10)},
    )
