"""Pictures and texts as batches."""

import pathlib

import tensorflow as tf

import kmmft

from ..made.records import drawn_shapes, easy_vqa
from .settings import Config


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building those that have a name."""
    directory = config.data
    if config.data == "easy_vqa":
        directory = easy_vqa("easy_vqa_captions")
    elif config.data == "shapes":
        folder = pathlib.Path(config.output_dir, "data")
        directory = drawn_shapes(folder, caption_column="caption")
    return kmmft.data.check_splits(
        kmmft.data.open_source(directory, kmmft.data.schema.image_text())
    )


def build_data(
    config: Config,
    source: kmmft.data.RecordSource,
    split: str,
    tokenizer: kmmft.models.ImageTokenizer,
    batch_preprocess,
    start_step: int | None = None,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Batches of pictures and texts; endless and shuffled if `start_step` is given."""
    reword = kmmft.data.TextAugmentation(caption_dropout_rate=config.caption_dropout)
    # Colours are what texts speak of, and so are shapes.
    change = kmmft.data.ImageAugmentation(
        crop_area=(config.smallest_crop, 1.0),
        crop_aspect_ratio=(1.0, 1.0),
        horizontal_flip=config.horizontal_flip,
        brightness=0.0,
        contrast=0.0,
        saturation=0.0,
    )

    training = start_step is not None

    def decode(record):
        captions = record["captions"]
        # In training one of them is chosen anew in each epoch.
        text = captions if training else kmmft.data.choose_caption(captions)
        return {"image": tokenizer.preprocess(record["image"]), "text": text}

    def augment(record, seed):
        text = kmmft.data.choose_caption(record["text"], seed)
        return {"image": change(record["image"], seed), "text": reword(text, seed)}

    return kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=decode,
        augment=augment,
        batch_preprocess=batch_preprocess,
        **config.reading_from(start_step, input_context),
    )
