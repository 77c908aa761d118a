"""The records of visual question answering, which the recipe may make itself."""

import pathlib

import kmmft

from ..made.records import drawn_shapes, easy_vqa
from .settings import Config


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building those that the recipe knows to make."""
    if not config.data:
        raise ValueError(
            "`--data` must name the directory of your questions, or take `--preset "
            "quickstart`, which brings some. Received: data=''."
        )
    directory = config.data
    if config.data == "easy_vqa":
        directory = easy_vqa()
    elif config.data == "shapes":
        directory = drawn_shapes(
            pathlib.Path(config.output_dir, "data"),
            question_column="question",
            answer_column="answer",
            id_column="id",
        )
    return kmmft.data.check_splits(
        kmmft.data.open_source(directory, kmmft.data.schema.image_question_answer())
    )
