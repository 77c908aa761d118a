"""The values of a serialised record, as Python has them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_datasets as tfds


def kinds_of(features: "tfds.features.FeaturesDict") -> dict[str, str]:
    """What each feature is: one of the names below, with `s` where several, or `other`.

    `image`, `label`, `text`, `audio` (the bytes of a file), `integer`, `float`.

    Example:
        >>> kinds_of(kmmft.data.schema.image_text())
        {'captions': 'texts', 'id': 'text', 'image': 'image'}
    """
    import tensorflow_datasets as tfds

    names = {
        tfds.features.Image: "image",
        tfds.features.ClassLabel: "label",
        tfds.features.Text: "text",
    }
    found = {}
    for name, feature in sorted(features.items()):
        inner = getattr(feature, "feature", feature)
        kinds = [kind for type_, kind in names.items() if isinstance(inner, type_)]
        kind = kinds[0] if kinds else _kind_of_scalar(inner)
        several = "s" if inner is not feature and kind != "other" else ""
        found[name] = kind + several
    return found


def _kind_of_scalar(feature: Any) -> str:
    import numpy as np

    if getattr(feature, "shape", None) != () or isinstance(feature, dict):
        return "other"
    kinds = {"O": "audio", "i": "integer", "u": "integer", "f": "float"}
    return kinds.get(np.dtype(feature.np_dtype).kind, "other")


def record_values(
    example: "tf.train.Example", features: "tfds.features.FeaturesDict"
) -> dict[str, Any]:
    """Texts as `str`, images and sounds as bytes, labels by name (None if not known).

    Features that hold several are lists, and so are those of another kind.

    Args:
        example: The record.
        features: Its features.

    Returns:
        Value by feature.
    """
    values = {}
    for name, kind in kinds_of(features).items():
        feature = example.features.feature[name]
        found: list[Any] = [*feature.bytes_list.value]
        if kind.startswith("text"):
            found = [raw.decode(errors="replace") for raw in found]
        elif kind.startswith("label"):
            inner = getattr(features[name], "feature", features[name])
            found = [
                inner.int2str(number) if number >= 0 else None
                for number in feature.int64_list.value
            ]
        elif not kind.startswith(("image", "audio")):
            found += [*feature.int64_list.value, *feature.float_list.value]
        one = kind in ("image", "label", "text", "audio", "integer", "float")
        values[name] = found if not one else found[0] if found else None
    return values
