"""The items, their features, and the batches that the recommender learns from."""

import collections
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

import kmmft
import tfrecords_tools

from .histories import Histories, made_histories, read_histories
from .settings import Config

MADE = ("open_clip_art", "shapes")
# These first, in this order: numbers of items must not depend on the disk.
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """All items, as the frozen encoders see them.

    Attributes:
        ids: The items' ids, by number.
        texts: Their texts.
        kinds: Their labels, int `(items,)`, or -1 where they have none.
        features: By modality float32 `(items, dim)`, and bool `<modality>_present`.
    """

    ids: list[str]
    texts: list[str]
    kinds: np.ndarray
    features: dict[str, np.ndarray]


def open_items(config: Config) -> kmmft.data.RecordSource:
    """Opens the items' records, after building them where a manifest is given."""
    kmmft.training.check_one_source(manifest=config.manifest, data=config.data)
    if (config.data in MADE) == bool(config.histories):
        raise ValueError(
            f"`--histories` goes with your own items, and {' and '.join(MADE)} with "
            f"users that are made up. Received: data={config.data!r}, "
            f"histories={config.histories!r}."
        )
    directory = config.data
    if config.manifest or config.data in MADE:
        folder = pathlib.Path(config.output_dir, "data")
        directory = folder / "items/1.0.0"
        if not directory.exists():
            _build(config, folder)
    source = kmmft.data.open_source(directory)
    texts = {"text", "captions"} & set(source.features)
    if not ({"id", "image"} <= set(source.features) and texts):
        raise ValueError(
            "Items must have an id, an image, and a text or captions. Received: "
            f"{sorted(source.features)} in {directory}."
        )
    return source


def _build(config: Config, folder: pathlib.Path) -> None:
    if config.data == "open_clip_art":
        tfrecords_tools.build_open_clip_art_classes(
            output_dir=folder, name="items", titles=True
        )
        return
    manifest = config.manifest or kmmft.data.write_colored_shapes(folder / "made")
    own = {"caption_column": config.text_column, "id_column": config.id_column}
    shapes = {"text_column": "caption", "label_column": "caption", "id_column": "id"}
    tfrecords_tools.build_manifest(
        manifest=manifest,
        output_dir=folder,
        name="items",
        image_column=config.image_column if config.manifest else "image",
        options=tfrecords_tools.BuildOptions(skip_bad=config.skip_bad),
        **(own if config.manifest else shapes),
    )


def read_catalogue(
    config: Config,
    source: kmmft.data.RecordSource,
    model: kmmft.models.SequenceRecommender,
) -> Catalogue:
    """Runs the frozen encoders over all items once.

    Raises:
        ValueError: If an id comes twice, or no more items than a list holds.
    """
    splits = dict.fromkeys((*SPLITS, *source.splits))
    batches = [
        batch
        for split in splits
        if split in source.splits
        for batch in _encoded_batches(config, source, split, model)
    ]
    rows, features = map(_joined, zip(*batches, strict=True))
    ids, texts = (
        [value.decode(errors="replace") for value in rows[name]]
        for name in ("id", "text")
    )
    _check_items(config, source, ids)
    return Catalogue(ids=ids, texts=texts, kinds=rows["label"], features=features)


def _joined(batches: Sequence[dict[str, tf.Tensor]]) -> dict[str, np.ndarray]:
    return {
        name: np.concatenate([batch[name].numpy() for batch in batches])
        for name in batches[0]
    }


def _check_items(
    config: Config, source: kmmft.data.RecordSource, ids: list[str]
) -> None:
    repeated = [name for name, count in collections.Counter(ids).items() if count > 1]
    if repeated:
        raise ValueError(
            "Each item must have an id of its own. Received: several of "
            f"{repeated[:3]} in {source.path}. Change them."
        )
    if len(ids) <= config.list_length:
        raise ValueError(
            "`--list_length` must be less than the number of items, or every list is "
            f"right. Received: {config.list_length}, and {len(ids)} items."
        )


def _encoded_batches(
    config: Config,
    source: kmmft.data.RecordSource,
    split: str,
    model: kmmft.models.SequenceRecommender,
) -> Iterator[tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]]:
    """Ids, texts and labels of a split's items, and what the encoders make of them."""
    encode = tf.function(model.features, reduce_retracing=True)

    def prepare(record):
        text = record["text"] if "text" in record else record["captions"][0]
        label = record.get("label", tf.constant(-1, tf.int64))
        own = {"image": record["image"], "text": text, "id": record["id"]}
        return {**model.decode_record(own), "label": label}

    items = kmmft.data.build_dataset(
        source,
        split=split,
        preprocess=prepare,
        batch_preprocess=lambda batch: model.prepare_batch(batch, True),
        batch_size=64,
        training=False,
        max_bad_fraction=config.max_bad_fraction,
    )
    for batch in items:
        yield {name: batch[name] for name in ("id", "text", "label")}, encode(batch)


def open_histories(config: Config, items: Catalogue) -> Histories:
    """Reads who chose what, or makes it up."""
    if not config.histories:
        return made_histories(items.kinds, config.made_users, config.seed)
    return read_histories(
        config.histories,
        items.ids,
        config.user_column,
        config.item_column,
        config.time_column,
        config.skip_bad,
    )


def training_batches(
    config: Config, items: Catalogue, histories: Histories, start_step: int
) -> tf.data.Dataset:
    """Endless batches of users' next items, after what they chose before."""
    pasts, following = histories.training_examples(config.history_length)
    counts = np.bincount(following, minlength=histories.num_items)
    with np.errstate(divide="ignore"):
        frequency = tf.constant(np.log(counts / counts.sum()), tf.float32)
    table = {name: tf.constant(value) for name, value in items.features.items()}

    def look_up(batch):
        past, item = batch["past"], batch["item"]
        known = past >= 0
        inputs = {"history_mask": known}
        for name, values in table.items():
            inputs[f"item_{name}"] = tf.gather(values, item)
            inputs[f"history_{name}"] = tf.gather(values, tf.maximum(past, 0))
        if config.frequency_correction:
            inputs["item_log_frequency"] = tf.gather(frequency, item)
        return inputs, item

    examples = tf.data.Dataset.from_tensor_slices({"past": pasts, "item": following})
    mixed = kmmft.data.mix_tasks(
        {"next": examples},
        config.batch_size,
        seed=config.seed,
        start_step=start_step,
        shuffle_buffer=len(following),
    )
    return mixed.map(lambda batch: look_up(batch["next"]), tf.data.AUTOTUNE)
