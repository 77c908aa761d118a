"""Checks and serialises records."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfrecords_tools.record_keys import wrong_keys

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


class RecordEncoder:
    """Turns records into the bytes that are written: the same record, the same bytes.

    Args:
        features: What a record is.

    Example:
        >>> features = kmmft.data.schema.labelled(image=False, class_names=["good"])
        >>> record = {"id": "a", "text": "Fine.", "label": "good"}
        >>> len(RecordEncoder(features).encode("train", record))
        50
    """

    def __init__(self, features: "tfds.features.FeaturesDict"):
        import tensorflow_datasets as tfds

        self._features = features
        self._serializer = tfds.core.ExampleSerializer(features.get_serialized_info())

    def encode(self, split: str, record: dict[str, Any]) -> bytes:
        """Serialises one record.

        Args:
            split: Its split, for errors.
            record: Dict with one value for each feature. Images are encoded bytes.

        Returns:
            A serialised `tf.train.Example`.

        Raises:
            ValueError: If the record does not fit the features.
        """
        if record.keys() != self._features.keys():
            raise ValueError(
                wrong_keys(record["id"], split, record.keys(), self._features.keys())
            )
        try:
            example = self._serializer.get_tf_example(
                self._features.encode_example(record)
            )
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                "A record must fit the features. Received: record "
                f"{record['id']!r} of split {split!r}, which cannot be encoded "
                f"({reason}); mend the value or the features."
            ) from error
        # Otherwise the features of a record stand in another order in each process.
        return example.SerializeToString(deterministic=True)


def check_id(record_id: Any, split: str, split_of_id: Mapping[str, str]) -> None:
    """Checks that an id is a text, and new.

    Args:
        record_id: Id of a record.
        split: Its split.
        split_of_id: The splits of the records before, by id.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(record_id, str) or not record_id:
        raise ValueError(
            "A record must have a non-empty string 'id'. Received: "
            f"id={record_id!r} in split {split!r}; give each record its own id."
        )
    if record_id in split_of_id:
        raise ValueError(
            f"An id must come once in a dataset. Received: id {record_id!r} in split "
            f"{split!r}, which is already in split {split_of_id[record_id]!r}; give "
            "each record its own id."
        )
