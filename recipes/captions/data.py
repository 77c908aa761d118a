"""The captions of pictures, and their batches."""

from collections.abc import Callable

import tensorflow as tf

import kmmft

from .settings import Config


def captions_by_id(
    source: kmmft.data.RecordSource, split: str
) -> dict[bytes, list[str]]:
    """All captions of each record of a split that can be read."""

    def parse(serialized):
        record = kmmft.data.parse_record(serialized, source.features)
        return record["id"], record["captions"]

    found = {}
    records = kmmft.data.read_records(source, split, on_error="skip").map(parse)
    for name, texts in records.as_numpy_iterator():
        decoded = (text.decode(errors="replace") for text in texts)
        found.setdefault(name, []).extend(decoded)
    return found


def build_data(
    config: Config,
    source: kmmft.data.RecordSource,
    split: str,
    model: kmmft.models.FusionGenerator | kmmft.models.CoCa,
    start_step: int | None = None,
    input_context: tf.distribute.InputContext | None = None,
    prepare_batch: Callable | None = None,
) -> tf.data.Dataset:
    """Batches to learn from; endless and shuffled if `start_step` is given."""
    change = _image_changes(config)
    training = start_step is not None

    def preprocess(record):
        image = model.decode_record({"image": record["image"]})["image"]
        decoded = {**record, "image": image}
        return decoded if training else _example(decoded, model.target)

    def augment(record, seed):
        changed = {**record, "image": change(record["image"], seed)}
        chosen = None if config.first_caption_only else seed
        return _example(changed, model.target, chosen)

    return kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=preprocess,
        augment=augment,
        batch_preprocess=prepare_batch or model.prepare_batch,
        **config.reading_from(start_step, input_context),
    )


def _image_changes(config: Config) -> kmmft.data.ImageAugmentation:
    return kmmft.data.ImageAugmentation(
        crop_area=(config.smallest_crop, 1.0),
        horizontal_flip=config.horizontal_flip,
        brightness=config.color_jitter,
        contrast=config.color_jitter,
        saturation=config.color_jitter,
    )


def _example(record: dict, target: str, seed: tf.Tensor | None = None) -> dict:
    """A record with one of its captions, drawn if there is a seed."""
    caption = kmmft.data.choose_caption(record["captions"], seed)
    return {
        "id": record["id"],
        "image": record["image"],
        target: caption,
        # The same words about two images: neither is the other's negative.
        "example_group": tf.strings.to_hash_bucket_fast(caption, 2**62),
    }
