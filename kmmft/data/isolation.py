"""Runs a function over records so that a record on which it fails spoils no other.

A graph has no `try`. `tf.data` can drop the elements on which a map failed, but does
not say which. So records go through in chunks, each with a small dataset of its own;
only a chunk that comes out short has its failures looked up, in Python. A dataset for
each record, or any further function call for each record, would cost far more.
"""

import re
from collections.abc import Callable, Mapping

import tensorflow as tf

from kmmft.data.bad_records import TOO_MANY

CHUNK_RECORDS = 16

Process = Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]
Report = Callable[[int, bytes, str], None]


def isolate_failures(
    chunks: tf.data.Dataset,
    process: Process,
    report: Report,
    *,
    substitute: bool,
    sample_mask: str | None = None,
    start_position: int = 0,
    num_parallel_calls: int,
) -> tf.data.Dataset:
    """Maps `process` over records; those on which it fails are reported.

    Args:
        chunks: Of up to `CHUNK_RECORDS` positions in the stream, numbers of records,
            and serialised records.
        process: `(position, serialised record) -> dict`, of fixed shapes.
        report: Called in Python with the number of each record that failed, the
            serialised record, and why. If it raises, the dataset does.
        substitute: Whether a good record of the same chunk takes the place of a bad
            one. It is then a fixed one, so that the order stays a pure function of
            the positions. Otherwise, the bad record is left out.
        sample_mask: Name of a boolean feature that `process` gives; it is False where
            a record only takes the place of a bad one. Then a chunk may be all bad.
        start_position: What comes before it is left out, after processing.
        num_parallel_calls: How many chunks are processed at a time.

    Returns:
        `tf.data.Dataset` of processed records, in order.
    """
    # Traced once, for the dataset and for the second look at what failed.
    position, _, record = chunks.element_spec
    traced = tf.function(
        process,
        input_signature=[
            tf.TensorSpec((), position.dtype),
            tf.TensorSpec((), record.dtype),
        ],
    )
    outputs = traced.get_concrete_function().structured_outputs
    check_record(outputs)
    needs_good = substitute and sample_mask is None
    find_failures = _failure_finder(traced, report, needs_good)

    def process_chunk(positions, numbers, records) -> tf.data.Dataset:
        size = tf.size(records, out_type=tf.int64)
        good = (
            tf.data.Dataset.range(size)
            .map(lambda index: traced(positions[index], records[index]))
            .ignore_errors()
        )

        def after_failures(_: tf.Tensor) -> tf.data.Dataset:
            failures = tf.py_function(
                find_failures, [positions, numbers, records], tf.int64
            )
            repeats = tf.where(failures >= 0, -1 if substitute else 0, 0)
            others = good.repeat(tf.cast(tf.ensure_shape(repeats, ()), tf.int64))
            if sample_mask is None:
                return others
            others = others.map(lambda one: {**one, sample_mask: tf.constant(False)})
            return others.concatenate(_blank(outputs).repeat())

        # `take` asks for the second part only if the first one was short.
        second = tf.data.Dataset.range(1).flat_map(after_failures)
        left_out = tf.math.count_nonzero(positions < start_position)
        return good.concatenate(second).take(size).skip(left_out)

    return chunks.interleave(
        process_chunk,
        # Each chunk is taken whole before the next one, so the order is kept.
        cycle_length=num_parallel_calls,
        block_length=CHUNK_RECORDS,
        num_parallel_calls=num_parallel_calls,
        deterministic=True,
    )


def _failure_finder(process: Process, report: Report, needs_good: bool) -> Callable:
    """A Python function that runs a chunk again, and reports and counts failures."""

    def find_failures(positions, numbers, records):
        failures = 0
        chunk = zip(positions, numbers.numpy(), records, strict=True)
        for position, number, record in chunk:
            reason = None
            try:
                process(position, record)
            except Exception as error:  # Whatever failed in the graph.
                reason = first_line(error)
            if reason is not None:
                failures += 1
                report(int(number), record.numpy(), reason)
        if not failures:
            # Called because the chunk came out short. To go on would lose a record.
            first, last = int(min(numbers)), int(max(numbers))
            raise ValueError(
                "A record must fail each time or never. Received: one of the records "
                f"{first} to {last} of the split, which failed once and not again, as "
                "where a file or memory was short. The same command goes on."
            )
        if needs_good and failures == len(records):
            raise ValueError(
                f"{TOO_MANY}: {failures} in a row, so that no good one can take their "
                "place. Mend or leave out these records when the data is built."
            )
        return failures

    return find_failures


def _blank(outputs: dict) -> tf.data.Dataset:
    """One record of zeros, where no other can be had."""
    zeros = tf.nest.map_structure(lambda one: tf.zeros(one.shape, one.dtype), outputs)
    return tf.data.Dataset.from_tensors(zeros)


def first_line(error: Exception) -> str:
    """The message of an error, without the names and places of graph nodes.

    Args:
        error: Any exception.

    Returns:
        One line.
    """
    text = getattr(error, "message", None) or str(error)
    text = re.sub(r"\{\{[^}]*\}\}|\[\[.*?\]\]|\[Op:[^\]]*\]", "", text).strip()
    for line in text.split("\n"):
        noise = line.startswith((" ", "\t", "Graph execution error", "Detected at"))
        if line.strip() and (not noise or line == text):
            line = re.sub(r"^assertion failed: \[(.*?)\]", r"\1", line.strip())
            return " ".join(line.split())
    return type(error).__name__


def check_record(outputs: object) -> None:
    """Checks that processed records can be batched."""
    if not isinstance(outputs, Mapping):
        raise ValueError(
            "`preprocess` and `augment` must return a record, a dict of tensors. "
            f"Received: {outputs}. Return a dict."
        )
    for name, feature in outputs.items():
        for part in tf.nest.flatten(feature):
            spec = tf.type_spec_from_value(part)
            if not (isinstance(spec, tf.TensorSpec) and spec.shape.is_fully_defined()):
                raise ValueError(
                    "Every feature must have a fixed shape after `preprocess`, for "
                    f"records to be batched. Received: {name!r} of shape "
                    f"{getattr(spec, 'shape', spec)}. Decode, choose, pad or leave it "
                    "out in `preprocess`."
                )
