"""The records of the multimodal classifier, from a manifest or made on the spot."""

import functools
import pathlib
from collections.abc import Sequence

import numpy as np

import kmmft
import tfrecords_tools
from tfrecords_tools.record_values import kinds_of

from .illustrated_sounds import write_illustrated_sounds
from .settings import Config

# Fewer vectors have no similarity to others.
FEWEST_TO_FORGET = 3


def open_data(config: Config) -> kmmft.data.RecordSource:
    """Opens the data, after building them from the manifest."""
    kmmft.training.check_one_source(csv=config.csv, data=config.data)
    folder = pathlib.Path(config.output_dir, "data")
    directory = folder / "examples/1.0.0"
    if config.data not in ("", "open_clip_art"):
        directory = config.data
    elif not directory.exists():
        build_records(config, folder)
    source = kmmft.data.open_source(directory)
    if "label" not in source.features:
        raise ValueError(
            "The records must have a label, as kmmft.data.schema.labelled makes them. "
            f"Received: {sorted(source.features)} in {directory}."
        )
    kmmft.data.check_splits(source)
    known = source.splits["validation"].num_records
    if known < FEWEST_TO_FORGET:
        raise ValueError(
            "What the model forgets is measured on the split validation, which must "
            f"have {FEWEST_TO_FORGET} records or more. Received: {known} in "
            f"{directory}. Name more rows so, or build with a larger "
            "validation_fraction."
        )
    return source


def build_records(config: Config, folder: pathlib.Path) -> None:
    """Builds `examples/1.0.0` from the manifest, or from Open Clip Art."""
    if config.data:
        tfrecords_tools.build_open_clip_art_classes(
            output_dir=folder, name="examples", titles=True
        )
        return
    made = {
        "shapes": kmmft.data.write_colored_shapes,
        "cases": kmmft.data.write_drawn_cases,
        "easy_vqa_entailment": tfrecords_tools.write_easy_vqa_entailment,
        "sounds": functools.partial(
            write_illustrated_sounds, config.sounds, skip_bad=config.skip_bad
        ),
    }
    manifest = config.csv
    if manifest in made:
        manifest = made[manifest](folder / "made")
    tfrecords_tools.build_manifest(
        manifest=manifest,
        output_dir=folder,
        name="examples",
        image_column=config.image_column or None,
        audio_column=config.audio_column or None,
        text_column=config.text_column or None,
        number_columns=tuple(config.number_columns),
        category_columns=tuple(config.category_columns),
        label_column=config.label_column,
        split_column=config.split_column or None,
        allow_missing=config.allow_missing,
        options=tfrecords_tools.BuildOptions(
            # The audio encoder reads nothing else.
            audio_to_wav=bool(config.audio_column),
            skip_bad=config.skip_bad,
        ),
    )


def table_columns(source: kmmft.data.RecordSource) -> tuple[list[str], list[str]]:
    """Names of the columns with numbers, and of those with categories."""
    kinds = kinds_of(source.features)
    # What stands beside a sound is no column of a table.
    kinds = {k: v for k, v in kinds.items() if k not in ("sample_rate", "num_samples")}
    numbers = [name for name, kind in kinds.items() if kind in ("float", "integer")]
    texts = [name for name, kind in kinds.items() if kind == "text"]
    return numbers, [name for name in texts if name not in ("id", "text")]


def read_columns(
    source: kmmft.data.RecordSource, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Values of the training records, by feature."""

    def chosen(serialized):
        record = kmmft.data.parse_record(serialized, source.features)
        return {name: record[name] for name in names}

    records = (
        kmmft.data.read_records(source, "train", on_error="skip").map(chosen).batch(256)
    )
    batches = list(records.as_numpy_iterator())
    return {name: np.concatenate([b[name] for b in batches]) for name in names}
