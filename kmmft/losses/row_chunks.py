"""A loss over rows of a similarity matrix that is never held as a whole."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from kmmft.losses.embeddings import Embeddings

Rows = Callable[[Embeddings, Embeddings, tf.Tensor, tf.Tensor], tf.Tensor]


def in_row_chunks(
    rows: Rows,
    queries: Embeddings,
    candidates: Embeddings,
    logit_scale: tf.Tensor,
    logit_bias: tf.Tensor,
    chunk_size: int | None,
) -> tf.Tensor:
    """Computes `rows` for `chunk_size` queries at a time, and once more backwards.

    The backward pass computes each chunk anew, so that memory grows with
    `chunk_size` times the candidates, not with queries times candidates.

    Args:
        rows: From (queries, candidates, logit_scale, logit_bias) to the queries'
            losses `(Q,)`. Differentiated for both vectors, scale and bias.
        queries: `Embeddings` of Q rows.
        candidates: `Embeddings` of all rows.
        logit_scale: float32 scalar.
        logit_bias: float32 scalar.
        chunk_size: Queries at a time; `None` for all at once.

    Returns:
        float32 tensor `(Q,)`.
    """
    count = queries.vectors.shape[0]
    if chunk_size is None or (count is not None and count <= chunk_size):
        return rows(queries, candidates, logit_scale, logit_bias)
    if count is None:
        count = tf.shape(queries.vectors)[0]
    chunks = _split(queries, count, chunk_size)

    def losses_of(chunk, query_vectors, candidate_vectors, scale, bias):
        return rows(
            dataclasses.replace(chunks[chunk], vectors=query_vectors),
            dataclasses.replace(candidates, vectors=candidate_vectors),
            scale,
            bias,
        )

    losses = _map_recomputed(
        losses_of, chunks.vectors, candidates.vectors, logit_scale, logit_bias
    )
    return tf.reshape(losses, (-1,))[:count]


def _split(queries: Embeddings, count, chunk_size: int) -> Embeddings:
    """Rows as (chunks, chunk_size): padded, because XLA needs equal shapes."""
    num_chunks = (count + chunk_size - 1) // chunk_size

    def split(rows):
        if rows is None:
            return None
        padding = [[0, num_chunks * chunk_size - count]] + [[0, 0]] * (rows.ndim - 1)
        shape = (num_chunks, chunk_size, *rows.shape[1:])
        return tf.reshape(tf.pad(rows, padding), shape)

    parts = (queries.vectors, queries.group, queries.index, queries.teacher)
    return Embeddings(*map(split, parts))


def _map_recomputed(losses_of, query_chunks, *shared):
    @tf.custom_gradient
    def run(query_chunks, *shared):
        num_chunks = tf.shape(query_chunks)[0]
        losses = tf.map_fn(
            lambda chunk: losses_of(chunk, query_chunks[chunk], *shared),
            tf.range(num_chunks),
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )

        def gradient(upstream):
            def body(chunk, query_gradients, *sums):
                watched = (query_chunks[chunk], *shared)
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(watched)
                    losses = losses_of(chunk, *watched)
                own, *rest = tape.gradient(
                    losses, watched, upstream[chunk], unconnected_gradients="zero"
                )
                sums = [total + new for total, new in zip(sums, rest, strict=True)]
                return chunk + 1, query_gradients.write(chunk, own), *sums

            _, query_gradients, *sums = tf.while_loop(
                lambda chunk, *_: chunk < num_chunks,
                body,
                (
                    tf.constant(0),
                    tf.TensorArray(tf.float32, num_chunks),
                    *map(tf.zeros_like, shared),
                ),
                parallel_iterations=1,
            )
            return query_gradients.stack(), *sums

        return losses, gradient

    return run(query_chunks, *shared)
