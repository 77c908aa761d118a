"""One caption out of several, or several of each record."""

import os

import tensorflow as tf

from kmmft.data.parsing import parse_record
from kmmft.data.reading import RecordSource, open_source
from kmmft.data.record_reading import read_records

# Tells this draw from those of an augmentation with the same seed.
_SALT = 0x63617074


def choose_caption(captions: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
    """Chooses one caption of a record: at random in training, the first otherwise.

    All captions are as likely. The choice is a function of `seed` alone, so that a
    resumed run sees the captions that an uninterrupted one does; `build_dataset` gives
    each record another seed in each epoch. It does not depend on what else is drawn
    from the same seed, such as a flip of the image.

    Args:
        captions: string tensor `(num_captions,)`.
        seed: int tensor `(2,)`, or None for the first caption.

    Returns:
        scalar string tensor.

    Raises:
        tf.errors.InvalidArgumentError: If there are no captions; `build_dataset`
            counts such a record as bad.

    Example:
        >>> captions = tf.constant(["a cat", "a cat: animal, pet"])
        >>> kmmft.data.choose_caption(captions).numpy()
        b'a cat'
        >>> kmmft.data.choose_caption(captions, seed=(0, 3)).numpy() in (
        ...     b"a cat", b"a cat: animal, pet")
        True
    """
    captions = tf.convert_to_tensor(captions, tf.string)
    some = _some(captions)
    # Eagerly there is nothing to wait for: the check has been made.
    with tf.control_dependencies([] if some is None else [some]):
        if seed is None:
            return captions[0]
        count = tf.shape(captions)[0]
        place = tf.random.stateless_uniform(
            (), _salted(seed), minval=0, maxval=count, dtype=tf.int32
        )
        return captions[place]


def choose_captions(
    captions: tf.Tensor, count: int, seed: tf.Tensor | None = None
) -> tf.Tensor:
    """Chooses several captions of a record, for `repeat_for_captions`.

    In a random order without repeats, or with a seed of None the first ones. Only if a
    record has fewer than `count` do its captions come again, after all have come once.
    With `count` the largest number of captions, all are seen in each epoch.

    Args:
        captions: string tensor `(num_captions,)`.
        count: How many to choose.
        seed: int tensor `(2,)`, or None.

    Returns:
        string tensor `(count,)`.

    Raises:
        tf.errors.InvalidArgumentError: If there are no captions.

    Example:
        >>> captions = tf.constant(["a cat", "a pet"])
        >>> kmmft.data.choose_captions(captions, 3).numpy().tolist()
        [b'a cat', b'a pet', b'a cat']
    """
    captions = tf.convert_to_tensor(captions, tf.string)
    some = _some(captions)
    with tf.control_dependencies([] if some is None else [some]):
        order = tf.range(tf.shape(captions)[0])
    if seed is not None:
        order = tf.random.experimental.stateless_shuffle(order, _salted(seed))
    places = tf.math.floormod(tf.range(count), tf.maximum(tf.size(order), 1))
    return tf.ensure_shape(tf.gather(captions, tf.gather(order, places)), (count,))


def list_captions(
    source: str | os.PathLike | RecordSource, split: str, on_error: str = "raise"
) -> list[str]:
    """Reads all captions of a split, such as to list their words.

    Args:
        source: What `open_source` opens; its records have `captions`.
        split: Name of the split.
        on_error: As in `read_records`.

    Returns:
        The captions, in the order on disk.

    Raises:
        ValueError: If the source or the split is not sound.
    """
    opened = open_source(source)

    def captions_of(serialized):
        return parse_record(serialized, opened.features)["captions"]

    records = read_records(opened, split, on_error=on_error).map(captions_of)
    records = records.as_numpy_iterator()
    return [text.decode(errors="replace") for record in records for text in record]


def repeat_for_captions(batch: dict, key: str = "text") -> dict:
    """Makes one example of each caption, so that an image comes with all of its own.

    For `batch_preprocess`, before the tokenising. All else is repeated for each
    caption. `example_group` says which examples are of one record, for the contrastive
    losses: they are not each other's negatives. It is left as it is where the records
    have one.

    Args:
        batch: Batch of records, with captions `(batch, count)` and `id` or
            `example_group`.
        key: Key of the captions.

    Returns:
        Batch of `batch * count` examples with one caption each.

    Raises:
        ValueError: If there are no such captions, or neither `id` nor
            `example_group`.

    Example:
        >>> batch = {"id": tf.constant(["a", "b"]),
        ...          "text": tf.constant([["one", "two"], ["three", "four"]])}
        >>> examples = kmmft.data.repeat_for_captions(batch)
        >>> examples["text"].numpy().tolist()
        [b'one', b'two', b'three', b'four']
        >>> np.unique(examples["example_group"], return_counts=True)[1]
        array([2, 2])
    """
    captions = batch.get(key)
    if captions is None or captions.shape.rank != 2 or captions.shape[1] is None:
        raise ValueError(
            f"The captions {key!r} must be a tensor (batch, count) of known count. "
            f"Received: {captions}. Make them with `choose_captions`."
        )
    if not {"id", "example_group"} & set(batch):
        raise ValueError(
            "Captions of one image are only known by `id` or `example_group`. "
            f"Received: {sorted(batch)}. Let `preprocess` keep the `id`."
        )
    count = captions.shape[1]
    groups = {}
    if "example_group" not in batch:
        groups["example_group"] = tf.strings.to_hash_bucket_fast(batch["id"], 2**62)
    repeated = {
        name: tf.repeat(value, count, axis=0)
        for name, value in {**batch, **groups}.items()
        if name != key
    }
    return {**repeated, key: tf.reshape(captions, [-1])}


def _salted(seed: tf.Tensor) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(tf.convert_to_tensor(seed), _SALT)


def _some(captions: tf.Tensor) -> tf.Operation | None:
    return tf.debugging.assert_positive(
        tf.shape(captions)[0],
        "A record must have a caption. Received: none. Add one, or leave it out.",
    )
