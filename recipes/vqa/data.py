"""The records of visual question answering, which the recipe may make itself."""

import pathlib

import kmmft
import tfrecords_tools

from .settings import Config


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building those that the recipe knows to make."""
    if config.data == "easy_vqa":
        directory = pathlib.Path("data/easy_vqa/1.0.0")
        if not directory.exists():
            tfrecords_tools.build_easy_vqa(output_dir="data")
    elif config.data == "shapes":
        folder = pathlib.Path(config.output_dir, "data")
        directory = folder / "shapes/1.0.0"
        if not directory.exists():
            tfrecords_tools.build_manifest(
                manifest=kmmft.data.write_colored_shapes(folder / "pictures"),
                output_dir=folder,
                name="shapes",
                image_column="image",
                question_column="question",
                answer_column="answer",
                id_column="id",
                split_column="split",
            )
    else:
        directory = config.data
    return kmmft.data.check_splits(
        kmmft.data.open_source(directory, kmmft.data.schema.image_question_answer())
    )
