"""What is wrong with what a record holds."""

import math
from typing import TYPE_CHECKING

from tfrecords_tools.audio_bytes import check_audio, check_soundfile
from tfrecords_tools.image_bytes import check_image
from tfrecords_tools.record_values import kinds_of

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


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
        self._sounds = [k for k, kind in kinds_of(features).items() if kind == "audio"]
        if self._sounds and check_images:
            check_soundfile()
        self._classes = {
            name: feature.num_classes
            for name, feature in features.items()
            if isinstance(feature, tfds.features.ClassLabel)
        }
        self._place_of_id: dict[str, str] = {}

    def check(self, payload: bytes | None) -> tuple[str | None, str | None]:
        """Checks one record by itself.

        Args:
            payload: The serialised record; None for one that is lost.

        Returns:
            What is wrong with it or None, and its id or None.
        """
        import tensorflow as tf

        from kmmft.data.isolation import first_line

        if payload is None:
            return None, None
        try:
            with tf.device("CPU:0"):
                record = self._parse(tf.constant(payload))
        except (tf.errors.OpError, ValueError, TypeError) as error:
            return f"The record lacks its features ({first_line(error)}).", None
        record_id = record["id"].numpy() if "id" in record else None
        if isinstance(record_id, bytes):
            record_id = record_id.decode(errors="replace")
        for name, count in self._classes.items():
            label = int(record[name])
            # -1 stands for a label that is not known.
            if not -1 <= label < count:
                return f"The {name} is {label}, of {count} classes.", record_id
        return self._image_problem(record) or self._sound_problem(record), record_id

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

    def _has_something_else(self, record: dict) -> bool:
        """Whether a record to classify that lacks its image has another input."""
        others = set(record) - {*self._images, *self._classes, "id"}
        values = [record[name].numpy() for name in others] if self._classes else []
        # NaN, a missing number, is unlike itself.
        return any(value == value and value != b"" for value in values)

    def _image_problem(self, record: dict) -> str | None:
        for name in self._images if self.check_images else ():
            images = record[name].numpy()
            if images == b"" and self._has_something_else(record):
                continue
            for encoded in [images] if isinstance(images, bytes) else images:
                try:
                    check_image(encoded, name)
                except ValueError as error:
                    return str(error)
        return None
