"""Opens what TensorFlow Datasets has prepared, and reads some of its features."""

import difflib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def open_builder(data: str, data_dir: str | None) -> "tfds.core.DatasetBuilder":
    """A dataset that is ready to be read.

    Args:
        data: Directory of a version, directory of a dataset with one version, or the
            name of a TFDS dataset (`mnist`, `coco_captions:1.1.0`), which is
            downloaded and prepared if it is not yet.
        data_dir: Where TFDS keeps datasets; default: ~/tensorflow_datasets.

    Returns:
        The builder.

    Raises:
        ValueError: If there is no such dataset, or it cannot be prepared.
    """
    import tensorflow_datasets as tfds

    path = pathlib.Path(data).expanduser()
    if path.is_dir():
        return tfds.builder_from_directory(str(_version(path)))
    if data.startswith(("/", ".", "~")):
        raise ValueError(
            "data must be a directory that TFDS wrote, or the name of a dataset. "
            f"Received: {data}, where there is no directory; mend the path."
        )
    try:
        builder = tfds.builder(data, data_dir=data_dir)
        builder.download_and_prepare()
    except Exception as error:  # Builders are programs of many people.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            "data must be a directory that TFDS wrote, or the name of a dataset that "
            f"TFDS can prepare. Received: {data} ({reason[:300]}); mend the path or "
            "the name."
        ) from error
    return builder


def _version(path: pathlib.Path) -> pathlib.Path:
    if (path / "features.json").is_file():
        return path
    found = sorted(child.parent for child in path.glob("*/features.json"))
    if len(found) != 1:
        names = ", ".join(version.name for version in found) or "no version"
        raise ValueError(
            "A directory must hold features.json, or one version that does. Received: "
            f"{path}, with {names}; give the directory of a version (NAME/1.0.0)."
        )
    return found[0]


def feature_at(features: "tfds.features.FeaturesDict", path: str) -> Any:
    """A feature, by its name, or by its path where features hold others.

    Args:
        features: Features of a dataset.
        path: Such as `caption`, or `captions.text`.

    Raises:
        ValueError: If there is none.
    """
    found: Any = features
    for name in path.split("."):
        found = _parts(found)
        if name not in found:
            names = sorted(_paths(features))
            near = difflib.get_close_matches(path, names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(
                f"There is no feature {path!r}; {hint}The features are "
                f"{', '.join(map(repr, names))}."
            )
        found = found[name]
    return found


def _paths(feature: Any, before: str = "") -> Iterator[str]:
    parts = _parts(feature)
    for name, part in parts.items():
        yield from _paths(part, f"{before}.{name}" if before else name)
    if not parts:
        yield before


def _parts(feature: Any) -> dict[str, Any]:
    """The features inside of a feature, or of the elements of a sequence."""
    inner = getattr(feature, "feature", feature)
    return dict(inner.items()) if hasattr(inner, "items") else {}


def split_expressions(
    builder: "tfds.core.DatasetBuilder", splits: Sequence[str]
) -> dict[str, str]:
    """What to read for each split.

    Args:
        builder: The dataset.
        splits: Such as `test` or `validation=train[:5%]`; empty for all splits.

    Returns:
        Expression of TFDS by name.

    Raises:
        ValueError: If one is no split.
    """
    expressions = {name: name for name in builder.info.splits} if not splits else {}
    for written in splits:
        name, _, expression = written.partition("=")
        expressions[name] = expression or name
    for name, expression in expressions.items():
        try:
            _ = builder.info.splits[expression].num_examples
        except (KeyError, ValueError, AttributeError) as error:
            raise ValueError(
                "splits must be NAME or NAME=EXPRESSION, such as "
                f"'validation=train[:5%]'. Received: {name}={expression}, where the "
                f"splits are {', '.join(builder.info.splits)}; mend it."
            ) from error
    return expressions


def read_values(
    builder: "tfds.core.DatasetBuilder",
    expression: str,
    paths: Sequence[str],
    encoded: str | None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Reads some features of the records of a split; no others are decoded.

    Args:
        builder: The dataset.
        expression: What to read.
        paths: The features.
        encoded: The feature that is not to be decoded, an image.

    Yields:
        The id that TFDS gives to the record, and values by path. Texts are bytes,
        numbers and lists are NumPy's.
    """
    import tensorflow_datasets as tfds

    dataset = builder.as_dataset(
        split=expression,
        shuffle_files=False,
        decoders=tfds.decode.PartialDecoding(
            _tree(dict.fromkeys(paths, True)),
            decoders=_tree({encoded: tfds.decode.SkipDecoding()} if encoded else {}),
        ),
        read_config=tfds.ReadConfig(
            add_tfds_id=True, interleave_cycle_length=1, try_autocache=False
        ),
    )
    for record in tfds.as_numpy(dataset):
        values = {path: _inside(record, path) for path in paths}
        yield record["tfds_id"].decode(), values


def _tree(by_path: Mapping[str, Any]) -> dict[str, Any]:
    """Dicts inside of dicts, as features are.

    Example:
        >>> _tree({"captions.text": True, "image": True})
        {'captions': {'text': True}, 'image': True}
    """
    tree: dict[str, Any] = {}
    for path, value in by_path.items():
        *folders, name = path.split(".")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[name] = value
    return tree


def _inside(record: Any, path: str) -> Any:
    for name in path.split("."):
        record = record[name]
    return record
