"""What is wrong with what a record holds."""

import dataclasses
import math
from typing import TYPE_CHECKING

from tfrecords_tools.audio_bytes import check_audio, check_soundfile
from tfrecords_tools.image_bytes import check_image
from tfrecords_tools.record_values import kinds_of

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# Of `kmmft.data.schema.labelled`, with their kinds.
_NO_INPUTS = (
    ("id", "text"),
    ("image", "image"),
    ("label", "label"),
    ("num_samples", "integer"),
    ("sample_rate", "integer"),
)


@dataclasses.dataclass(frozen=True)
class CheckedRecord:
    """What was found in a record.

    Attributes:
        problem: What is wrong with it, or None.
        id: Its id, or None.
        lacks_image: Whether it is well without an image, and has none.
    """

    problem: str | None = None
    id: str | None = None
    lacks_image: bool = False


class RecordChecks:
    """Checks records against their features, and that no id comes twice.

    Args:
        features: What the records should be.
        check_images: Decode the images and sounds.
    """

    def __init__(self, features: "tfds.features.FeaturesDict", check_images: bool):
        import tensorflow as tf
        import tensorflow_datasets as tfds

        from kmmft.data import parse_record

        self.check_images = check_images
        # Traced once: op by op, parsing takes longer than decoding the image.
        self._parse = tf.function(
            lambda serialized: parse_record(serialized, features),
            input_signature=[tf.TensorSpec((), tf.string)],
        ).get_concrete_function()
        self._images = [
            name
            for name, feature in features.items()
            if isinstance(feature, tfds.features.Image)
            or isinstance(getattr(feature, "feature", None), tfds.features.Image)
        ]
        self._other_inputs = _inputs_beside_image(features)
        self._sounds = [k for k, kind in kinds_of(features).items() if kind == "audio"]
        if self._sounds and check_images:
            check_soundfile()
        self._classes = {
            name: feature.num_classes
            for name, feature in features.items()
            if isinstance(feature, tfds.features.ClassLabel)
        }
        self._place_of_id: dict[str, str] = {}

    def check(self, payload: bytes | None) -> CheckedRecord:
        """Checks one record by itself.

        Args:
            payload: The serialised record; None for one that is lost.

        Returns:
            `CheckedRecord`.
        """
        import tensorflow as tf

        from kmmft.data.isolation import first_line

        if payload is None:
            return CheckedRecord()
        try:
            with tf.device("CPU:0"):
                record = self._parse(tf.constant(payload))
        except (tf.errors.OpError, ValueError, TypeError) as error:
            reason = f"The record lacks its features ({first_line(error)})."
            return CheckedRecord(reason)
        record_id = record["id"].numpy() if "id" in record else None
        if isinstance(record_id, bytes):
            record_id = record_id.decode(errors="replace")
        elif record_id is not None:
            record_id = str(record_id)
        for name, count in self._classes.items():
            label = int(record[name])
            # -1 stands for a label that is not known.
            if not -1 <= label < count:
                reason = f"The {name} is {label}, of {count} classes."
                return CheckedRecord(reason, record_id)
        lacks_image = self._lacks_image(record)
        problem = None if lacks_image else self._image_problem(record)
        problem = problem or self._sound_problem(record)
        return CheckedRecord(problem, record_id, lacks_image)

    def second_use(self, record_id: str, place: str) -> str | None:
        """Says where an id was before, if it was; not to be called by two threads.

        Args:
            record_id: The id.
            place: Where it is now.

        Returns:
            What is wrong, or None.
        """
        first = self._place_of_id.setdefault(record_id, place)
        return None if first == place else f"The id is that of {first} too."

    def _sound_problem(self, record: dict) -> str | None:
        for name in self._sounds if self.check_images else ():
            try:
                found = check_audio(record[name].numpy(), name, max_seconds=math.inf)
            except ValueError as error:
                return str(error)
            for key, value in zip(("sample_rate", "num_samples"), found, strict=True):
                if key in record and int(record[key]) != value:
                    return f"The {key} is {int(record[key])}, of the {name} {value}."
        return None

    def _lacks_image(self, record: dict) -> bool:
        """Whether a record has no image, and another input in its place."""
        if not self._other_inputs or record["image"].numpy() != b"":
            return False
        values = [record[name].numpy() for name in self._other_inputs]
        # NaN, a missing number, is unlike itself.
        return any(value == value and value != b"" for value in values)

    def _image_problem(self, record: dict) -> str | None:
        for name in self._images if self.check_images else ():
            images = record[name].numpy()
            for encoded in [images] if isinstance(images, bytes) else images:
                try:
                    check_image(encoded, name)
                except ValueError as error:
                    return str(error)
        return None


def _inputs_beside_image(features: "tfds.features.FeaturesDict") -> list[str]:
    """What may be there in place of an image; nothing, if a record must have its image.

    Only records of `kmmft.data.schema.labelled` may lack it, for a text, a sound, a
    number or a category.
    """
    kinds = kinds_of(features)
    found = []
    for name, kind in kinds.items():
        is_audio = name == kind == "audio"
        if is_audio or (kind in ("text", "float") and name != "id"):
            found.append(name)
        elif (name, kind) not in _NO_INPUTS:
            return []
    known = (kinds.get("id"), kinds.get("label"), kinds.get("image"))
    return found if known == ("text", "label", "image") else []
