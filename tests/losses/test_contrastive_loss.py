"""What every contrastive loss keeps: its sum over rows, chunks, extreme inputs."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.losses import Embeddings
from tests.losses.contrastive_cases import (
    CASES,
    GROUPS,
    every_loss,
    teachers_for,
    towers,
)


def loss_and_gradients(directed, images, texts, scale=14.0, bias=-10.0):
    """Sum over all rows, and gradients for images, texts, scale and bias."""
    watched = [tf.Variable(x) for x in (images.vectors, texts.vectors, scale, bias)]
    with tf.GradientTape() as tape:
        queries = dataclasses.replace(images, vectors=watched[0].read_value())
        candidates = dataclasses.replace(texts, vectors=watched[1].read_value())
        total = tf.reduce_sum(
            directed(queries, candidates, logit_scale=watched[2], logit_bias=watched[3])
        )
    return total, *tape.gradient(total, watched, unconnected_gradients="zero")


def both_sides(name, loss):
    teachers = teachers_for(name) or [None, None]
    sides = [
        Embeddings.from_vectors(vectors, GROUPS, teacher)
        for vectors, teacher in zip(towers(), teachers, strict=True)
    ]
    if loss.joint:
        return [Embeddings.join(sides)] * 2
    return sides


def assert_all_close(results, expected):
    """Equal to 1e-6 of the largest number of each tensor."""
    for result, wanted in zip(results, expected, strict=True):
        largest = np.abs(wanted).max()
        np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-6 * largest)


@every_loss
def test_rows_shared_out_sum_to_the_whole(name):
    loss = CASES[name]()
    images, texts = both_sides(name, loss)

    def whole(queries, candidates, **options):
        return loss.directed(queries, candidates, step=3, **options)

    def in_shards(queries, candidates, **options):
        shards = [queries[:2], queries[2:6], queries[6:]]
        return tf.concat([whole(x, candidates, **options) for x in shards], axis=0)

    expected = loss_and_gradients(whole, images, texts)
    results = loss_and_gradients(in_shards, images, texts)
    assert float(expected[0]) > 0
    assert_all_close(results, expected)


@every_loss
@pytest.mark.parametrize("chunk_size", [1, 3, 20])
def test_chunks_change_nothing(name, chunk_size):
    loss, chunked = CASES[name](), CASES[name](chunk_size=chunk_size)
    images, texts = both_sides(name, loss)
    expected = loss_and_gradients(
        lambda *sides, **k: loss.directed(*sides, step=3, **k), images, texts
    )
    results = loss_and_gradients(
        lambda *sides, **k: chunked.directed(*sides, step=3, **k), images, texts
    )
    assert_all_close(results, expected)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_chunks_in_a_graph(jit_compile):
    loss, chunked = CASES["info_nce"](), CASES["info_nce"](chunk_size=3)
    images, texts = both_sides("info_nce", loss)
    expected = loss_and_gradients(loss.directed, images, texts)
    queries, candidates = tf.Variable(images.vectors), tf.Variable(texts.vectors)

    @tf.function(jit_compile=jit_compile)
    def step():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(
                chunked.directed(
                    dataclasses.replace(images, vectors=queries.read_value()),
                    dataclasses.replace(texts, vectors=candidates.read_value()),
                    logit_scale=14.0,
                )
            )
        return total, *tape.gradient(total, [queries, candidates])

    assert_all_close(step(), expected[:3])


def sizes_in_graph(function):
    """Numbers in each tensor of a graph, its loops' bodies too."""
    graph = function.get_concrete_function().graph.as_graph_def(add_shapes=True)
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    for node in nodes:
        for shape in node.attr["_output_shapes"].list.shape:
            yield tf.TensorShape(shape).num_elements() or 0


@pytest.mark.parametrize("chunk_size, holds_matrix", [(None, True), (16, False)])
def test_chunks_never_hold_the_matrix(chunk_size, holds_matrix):
    pairs, dim = 64, 4
    loss = kmmft.losses.InfoNCE(chunk_size=chunk_size)
    images, texts = (tf.Variable(x) for x in towers(pairs, dim))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(loss.per_pair([images, texts]))
        return tape.gradient(total, [images, texts])

    sizes = set(sizes_in_graph(step))
    assert 16 * pairs in sizes or holds_matrix
    assert (max(sizes) >= pairs * pairs) is holds_matrix


@every_loss
def test_order_of_the_pairs_does_not_matter(name):
    loss, order = CASES[name](), np.random.default_rng(2).permutation(7)
    teachers = teachers_for(name)
    expected = loss.per_pair(towers(), GROUPS, step=3, teachers=teachers)
    result = loss.per_pair(
        [vectors[order] for vectors in towers()],
        GROUPS[order],
        step=3,
        teachers=teachers and [teacher[order] for teacher in teachers],
    )
    np.testing.assert_allclose(result, expected.numpy()[order], rtol=1e-4, atol=1e-5)


EXTREMES = {
    "zeros": [np.zeros((3, 8))] * 2,
    "one_zero": [np.eye(3, 8), np.eye(3, 8) * [[1], [0], [1]]],
    "identical": [np.ones((3, 8))] * 2,
    "opposite": [np.ones((3, 8)), -np.ones((3, 8))],
    "huge": [np.full((3, 8), 1e4)] * 2,
    "one_pair": [np.ones((1, 8))] * 2,
}


@every_loss
@pytest.mark.parametrize("case", EXTREMES)
def test_extremes_are_finite(name, case):
    watched = [tf.Variable(x, dtype=tf.float32) for x in (*EXTREMES[case], 100.0)]
    *vectors, scale = watched
    with tf.GradientTape() as tape:
        loss = CASES[name]().per_pair(
            vectors,
            logit_scale=scale,
            step=3,
            teachers=EXTREMES[case] if name == "distillation" else None,
        )
    gradients = tape.gradient(loss, watched, unconnected_gradients="zero")
    assert all(np.all(np.isfinite(x)) for x in (loss, *gradients))


def test_one_pair_has_nothing_to_tell_it_from():
    pair = towers(batch=1)
    for name in ("info_nce", "info_nce_ignore", "hardest", "semi_hard", "all"):
        assert CASES[name]().per_pair(pair, logit_scale=1.0).numpy() == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes_are_compared_in_float32(dtype):
    loss = CASES["siglip"]()
    vectors = [tf.cast(x, dtype) for x in towers()]
    result = loss.per_pair(vectors)
    expected = loss.per_pair([tf.cast(x, tf.float32) for x in vectors])
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, expected, rtol=1e-6)
