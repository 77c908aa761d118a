"""Runs rows of raw inputs in batches, and says which row was wrong."""

import contextlib
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence

import tensorflow as tf


def in_batches(
    run: Callable,
    raw: Mapping[str, Sequence],
    batch_size: int,
    decoders: Mapping[str, Callable],
    prepare: Callable | None = None,
) -> list:
    """What a function makes of each batch of raw inputs.

    Args:
        run: Takes a dict of tensors `(batch, ...)`.
        raw: By name, a sequence of bytes, texts or numbers, of equal length.
        batch_size: How many are run at a time.
        decoders: By name, what takes one of the files among them.
        prepare: Is called on each batch before, in the dataset's graph.

    Raises:
        ValueError: If the sequences are none, are of unequal length or empty, the
            batch size is no whole number from 1, or a file cannot be decoded.
    """
    check_rows(raw)
    check_batch_size(batch_size)
    rows = {name: _column(name, values) for name, values in raw.items()}
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)
    if prepare is not None:
        dataset = dataset.map(prepare)
    with bad_rows_told(decoders, raw):
        return [run(batch) for batch in dataset]


def check_batch_size(batch_size: int) -> None:
    """Raises unless rows can be run that many at a time.

    Raises:
        ValueError: If it is no whole number from 1.
    """
    if not isinstance(batch_size, numbers.Integral) or batch_size < 1:
        raise ValueError(
            f"`batch_size` must be a whole number from 1. Received: {batch_size!r}."
        )


@contextlib.contextmanager
def bad_rows_told(
    decoders: Mapping[str, Callable], raw: Mapping[str, Sequence]
) -> Iterator[None]:
    """Says which row it was, where a file could not be decoded in the block.

    Args:
        decoders: By name, what decodes one file.
        raw: By name, the files that are decoded in the block.

    Raises:
        ValueError: In place of TensorFlow's error, which tells no row.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        for name, decode in decoders.items():
            for number, row in enumerate(raw.get(name, ())):
                _check_decodes(name, number, row, decode, error)
        raise


def _check_decodes(name, number, row, decode, error) -> None:
    file = tf.convert_to_tensor(row)
    if file.dtype != tf.string:  # decoded already
        return
    try:
        decode(file)
    except tf.errors.InvalidArgumentError as found:
        # Without the names of TensorFlow's operations.
        reason = found.message.split("}}")[-1].split("[Op:")[0].strip()
        raise ValueError(
            "Each file must be one that can be decoded. Received: row "
            f"{number} of {name!r}, {row!r:.40}: {reason}"
        ) from error


def check_rows(raw: Mapping[str, Sequence]) -> None:
    """Raises unless each name has a sequence, all of one length.

    Raises:
        ValueError: If one is a single text, they differ in length, or are empty.
    """
    single = [name for name, values in raw.items() if isinstance(values, str | bytes)]
    if single:
        raise ValueError(
            "Each modality must be a sequence. Received: one string for "
            f"{single}. Put it into a list."
        )
    lengths = {name: len(values) for name, values in raw.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(
            "All modalities must have the same number of examples, at least one. "
            f"Received: {lengths}."
        )


def _column(name: str, values: Sequence) -> tf.Tensor:
    try:
        return tf.convert_to_tensor(values)
    except (TypeError, ValueError) as error:
        kinds = sorted({type(value).__name__ for value in values})
        raise ValueError(
            "The examples of a modality must be of one kind, bytes or texts. "
            f"Received: {' and '.join(kinds)} for {name!r}."
        ) from error
