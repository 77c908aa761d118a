"""The values of a serialised record, as Python has them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_datasets as tfds


def kinds_of(features: "tfds.features.FeaturesDict") -> dict[str, str]:
    """What each feature is: `image`, `label`, `text`, with `s` where several, or `other`.

    Example:
        >>> kinds_of(kmmft.data.schema.image_text())
        {'captions': 'texts', 'id': 'text', 'image': 'image'}
    """  # noqa: E501
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
        several = "s" if inner is not feature else ""
        found[name] = kinds[0] + several if kinds else "other"
    return found


def record_values(
    example: "tf.train.Example", features: "tfds.features.FeaturesDict"
) -> dict[str, Any]:
    """Texts as `str`, images as encoded bytes, labels by name (None if not known).

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
        elif kind == "other":
            found += [*feature.int64_list.value, *feature.float_list.value]
        one = kind in ("image", "label", "text")
        values[name] = found if not one else found[0] if found else None
    return values
