"""Training a text tower on texts of mixed length: padded, trimmed, sorted, packed.

all-MiniLM-L6-v2 forward and backward on batches of 128 texts, at most 64 tokens long
and 15 on average (log-normal, as captions are). Trimmed to the longest of the batch;
sorted by length first, as `bucket_by_length` does; or with several in a row of
`packed_length`. Random tokens: only lengths count. Measured on two cores beside other
work, core-milliseconds a text: padded 58.6, trimmed 50.4, sorted 20.2, packed in rows
of 64 15.1, of 128 15.6. Packing needs no pool of sorted examples, and leaves the
negatives of a contrastive batch as they are.
"""

import time

import numpy as np
import tensorflow as tf

from kmmft.encoders import TextEncoder
from kmmft.evaluation import Table

BATCHES, BATCH_SIZE, LENGTH = 8, 128, 64
# Rows of so many tokens, whether batches are trimmed and whether they are sorted.
WAYS = {
    "padded": (None, False, False),
    "trimmed": (None, True, False),
    "sorted and trimmed": (None, True, True),
    "packed, 64 a row": (64, False, False),
    "packed, 128 a row": (128, False, False),
}


def batch_of(lengths: np.ndarray, is_trimmed: bool) -> dict[str, tf.Tensor]:
    longest = -(-lengths.max() // 8) * 8 if is_trimmed else LENGTH
    mask = np.arange(longest) < lengths[:, None]
    random = np.random.default_rng(0)
    ids = random.integers(1000, 20000, mask.shape).astype("int32") * mask
    return {"token_ids": tf.constant(ids), "padding_mask": tf.constant(mask)}


def seconds(encoder: TextEncoder, batches: list[dict]) -> tuple[float, float]:
    """Seconds by the clock and of cores, over all batches."""

    @tf.function(reduce_retracing=True)
    def step(batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(encoder(batch, training=True)["pooled"] ** 2)
        found = tape.gradient(loss, encoder.trainable_variables)
        dense = [tf.convert_to_tensor(x) for x in found if x is not None]
        return tf.add_n([tf.reduce_sum(x) for x in dense])

    for batch in (batches[0], batches[-1]):
        step(batch)
    start, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        step(batch)
    return time.perf_counter() - start, time.process_time() - cpu


def measure() -> Table:
    random = np.random.default_rng(0)
    drawn = np.exp(random.normal(np.log(12), 0.6, (BATCHES, BATCH_SIZE)))
    lengths = np.clip(drawn.astype(int) + 2, 3, LENGTH)
    base = TextEncoder.from_preset("demo", sequence_length=LENGTH)
    rows, count = [], BATCHES * BATCH_SIZE / 1e3
    for name, (packed_length, is_trimmed, is_sorted) in WAYS.items():
        encoder = TextEncoder(
            base.backbone, base.tokenizer, LENGTH, packed_length=packed_length
        )
        ordered = lengths
        if is_sorted:
            ordered = np.sort(lengths.ravel()).reshape(lengths.shape)
        batches = [batch_of(part, is_trimmed) for part in ordered]
        wall, cpu = seconds(encoder, batches)
        rows.append([name, f"{wall / count:.1f}", f"{cpu / count:.1f}"])
    return Table("Texts of mixed length", ["batches", "ms a text", "core ms"], rows)
