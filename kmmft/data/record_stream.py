"""The stream of serialised records that a host reads, in chunks."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from kmmft.data.epochs import Epochs
from kmmft.data.isolation import CHUNK_RECORDS
from kmmft.data.record_reader import RecordReader


@dataclasses.dataclass(frozen=True)
class BatchPart:
    """Which rows of each global batch are read here.

    Attributes:
        batch_size: Rows of the global batch.
        first: The first row that is read here.
        rows: How many rows are.
    """

    batch_size: int
    first: int
    rows: int

    def position(self, index: int) -> int:
        """Where the record stands in the whole stream that is number `index` here."""
        step, row = divmod(index, self.rows)
        return step * self.batch_size + self.first + row

    def holds(self, positions: np.ndarray) -> np.ndarray:
        """Which positions of the whole stream are read here."""
        rows = positions % self.batch_size
        return (rows >= self.first) & (rows < self.first + self.rows)


def own_part(
    batch_size: int, context: tf.distribute.InputContext | None
) -> tuple[BatchPart, int]:
    """What this host reads of each global batch, and the rows of one replica.

    Args:
        batch_size: Rows of the global batch.
        context: Which host this is; `None` if it is the only one, and takes all rows
            in one.

    Raises:
        ValueError: If the replicas cannot share the batch, or the hosts the replicas.
    """
    if context is None:
        return BatchPart(batch_size, 0, batch_size), batch_size
    hosts, replicas = context.num_input_pipelines, context.num_replicas_in_sync
    if batch_size % replicas or replicas % hosts:
        raise ValueError(
            "The batch must divide by the number of replicas, and that by the number "
            f"of hosts. Received: batch_size={batch_size}, {replicas} replicas, "
            f"{hosts} hosts. Choose a batch size that is a multiple of {replicas}."
        )
    rows = batch_size // hosts
    part = BatchPart(batch_size, context.input_pipeline_id * rows, rows)
    return part, batch_size // replicas


def record_chunks(
    reader: RecordReader,
    epochs: Epochs,
    part: BatchPart,
    *,
    start: int = 0,
    endless: bool,
) -> tf.data.Dataset:
    """Reads records in their order, ahead of what takes them.

    Args:
        reader: Reads them by number.
        epochs: Their order.
        part: Those that are read here; the others are not touched.
        start: How many of those that are read here to leave out. They are not read.
        endless: Whether there are epochs for ever, or one.

    Returns:
        `tf.data.Dataset` of chunks of `CHUNK_RECORDS`: positions in the whole stream,
        int64; numbers in the split, int64; and the serialised records.
    """
    first_position = part.position(start)

    def plan() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        first_epoch, place = divmod(first_position, epochs.records_per_epoch)
        for epoch in itertools.count(first_epoch) if endless else [first_epoch]:
            before = epoch * epochs.records_per_epoch
            for begin, numbers in epochs.windows(epoch, place):
                positions = before + begin + np.arange(len(numbers))
                mine = part.holds(positions) & (positions >= first_position)
                if mine.any():
                    yield positions[mine], numbers[mine]
            place = 0

    def read(positions: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, ...]:
        records = tf.numpy_function(reader.read, [numbers], tf.string)
        return positions, numbers, tf.ensure_shape(records, (None,))

    many = tf.TensorSpec((None,), tf.int64)
    planned = tf.data.Dataset.from_generator(plan, output_signature=(many, many))
    # One window is read while the one before it is used.
    return planned.map(read).prefetch(1).rebatch(CHUNK_RECORDS)
