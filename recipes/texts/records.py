"""The records of a text task, all at once: they are small."""

from collections.abc import Callable, Sequence

import kmmft
import tfrecords_tools

from .settings import Config


def open_records(
    config: Config,
    build: Callable,
    name: str,
    template: str,
    schema: Callable,
    features: set[str],
    splits: Sequence[str],
) -> kmmft.data.RecordSource:
    """Opens records of a task whose files are told by split, after building them.

    Args:
        config: The settings.
        build: Builds the data from the files.
        name: Of the data.
        template: Which made-up texts are of this task.
        schema: What makes their schema, for the error.
        features: What the records must have.
        splits: Which splits must have some.

    Raises:
        ValueError: If there are no data, they are of another task, or a split has
            none.
    """
    config.check_data()
    directory = config.data or config.data_folder / name / "1.0.0"
    if config.files and not directory.exists():
        files = config.split_files()
        if config.files == "templates":
            texts = kmmft.data.write_template_texts(config.data_folder / "files")
            made = getattr(texts, template)
            files = [f"{split}={file}" for split, file in made.items()]
        options = tfrecords_tools.BuildOptions(skip_bad=config.skip_bad)
        build(files=files, output_dir=config.data_folder, name=name, options=options)
    source = kmmft.data.open_source(directory)
    if not features <= set(source.features):
        raise ValueError(
            f"`--task {config.task}` needs records of kmmft.data.schema."
            f"{schema.__name__}. Received: {config.data}, records with "
            f"{sorted(source.features)}."
        )
    return kmmft.data.check_splits(source, splits)


def all_records(
    config: Config, source: kmmft.data.RecordSource, split: str
) -> list[dict]:
    """The records of a split that can be read; too many others are an error."""
    return kmmft.data.first_records(
        source,
        split,
        source.split(split, on_error="skip").num_records,
        on_error="skip",
        max_bad_fraction=config.max_bad_fraction,
    )
