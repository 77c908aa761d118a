"""Batches of similar lengths lose nothing, and go on where a run stopped."""

import functools
import itertools

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.data import bucket_by_length, trim_padding

LENGTH = 24


def pools(batch_size, start_step, kind=dict):
    """Endless pools of numbered texts, of lengths that look random."""

    def text(number):
        length = 1 + tf.cast(number * 7919 % 1009 % 21, tf.int32)
        features = {
            "number": number,
            "token_ids": tf.sequence_mask(length, LENGTH, tf.int32) * 5,
            "padding_mask": tf.sequence_mask(length, LENGTH),
        }
        return features if kind is dict else (features, number + 1)

    numbers = tf.data.Dataset.counter(start_step * batch_size, dtype=tf.int64)
    return numbers.map(text).batch(batch_size)


def batches(number, **options):
    options = {"batch_size": 4, "pool_batches": 6, "multiple_of": 1, **options}
    data = bucket_by_length(options.pop("pools", pools), **options)
    return list(data.take(number).as_numpy_iterator())


def test_pools_are_sorted_whole_and_trimmed():
    found = batches(12)
    for first in (0, 6):
        part = found[first : first + 6]
        numbers = np.concatenate([batch["number"] for batch in part])
        assert sorted(numbers) == [*range(4 * first, 4 * first + 24)]
        bounds = []
        for batch in part:
            lengths = batch["padding_mask"].sum(axis=1)
            expected = 1 + batch["number"] * 7919 % 1009 % 21
            np.testing.assert_array_equal(lengths, expected)
            assert batch["token_ids"].shape == (4, lengths.max())
            np.testing.assert_array_equal(batch["token_ids"], batch["padding_mask"] * 5)
            bounds.append((lengths.min(), lengths.max()))
        assert bounds != sorted(bounds)
        pairs = itertools.pairwise(sorted(bounds))
        assert all(shorter[1] <= longer[0] for shorter, longer in pairs)
    padding = sum((~batch["padding_mask"]).sum() for batch in found)
    plain = [trim_padding(batch) for batch in pools(4, 0).take(12)]
    unsorted = sum(np.sum(~batch["padding_mask"].numpy()) for batch in plain)
    assert padding < 0.2 * unsorted


@pytest.mark.parametrize("step", [5, 12])
def test_resumed_is_uninterrupted(step):
    expected = batches(step + 3, seed=2)[step:]
    tf.random.set_seed(step)
    for one, other in zip(expected, batches(3, seed=2, start_step=step), strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_pools_of_which_a_replica_has_its_part():
    def halves(batch_size, start_step):
        return pools(batch_size // 2, start_step)

    found = batches(6, pools=halves)
    assert [len(batch["number"]) for batch in found] == [2] * 6
    seen = np.concatenate([batch["number"] for batch in found])
    np.testing.assert_array_equal(np.sort(seen), np.arange(12))


def test_tuples_and_multiples():
    found = batches(6, pools=functools.partial(pools, kind=tuple), multiple_of=8)
    for features, label in found:
        np.testing.assert_array_equal(label, features["number"] + 1)
        longest = features["padding_mask"].sum(axis=1).max()
        assert features["token_ids"].shape[1] == -(-longest // 8) * 8


def test_all_texts_of_a_batch_are_trimmed_by_their_own_mask():
    batch = {
        "question_token_ids": tf.ones((2, 6), tf.int32),
        "question_padding_mask": tf.sequence_mask([1, 3], 6),
        "padding_mask": tf.sequence_mask([0, 0], 6),
        "token_ids": tf.ones((2, 6), tf.int32),
        "image": tf.zeros((2, 4, 4, 3)),
    }
    for trim in (trim_padding, tf.function(trim_padding)):
        trimmed = trim(batch)
        shapes = {key: tuple(value.shape) for key, value in trimmed.items()}
        assert shapes["question_token_ids"] == shapes["question_padding_mask"] == (2, 3)
        assert shapes["padding_mask"] == shapes["token_ids"] == (2, 1)
        assert shapes["image"] == (2, 4, 4, 3)


def test_trimmed_texts_train_as_padded_ones():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog"]
    encoder = kmmft.encoders.TextEncoder(
        keras_hub.models.BertBackbone(8, 1, 2, 8, 16, dropout=0.0),
        keras_hub.models.BertTokenizer(words, lowercase=True),
        sequence_length=LENGTH,
    )
    inputs = encoder.preprocess(["a cat", "a", "dog a cat dog"])
    trimmed = trim_padding(inputs)
    assert trimmed["token_ids"].shape == (3, 6)
    for one, other in zip(
        gradients(encoder, inputs), gradients(encoder, trimmed), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-6)


def gradients(encoder, inputs):
    with tf.GradientTape() as tape:
        pooled = encoder(inputs)["pooled"]
        loss = keras.ops.sum(pooled * keras.ops.arange(8, dtype="float32"))
    found = tape.gradient(loss, encoder.trainable_variables)
    return [tf.convert_to_tensor(g).numpy() for g in found if g is not None]


def test_records_of_a_directory(toy_directory):
    def lengths(batch):
        number = tf.strings.to_number(tf.strings.substr(batch["id"], 1, 9), tf.int32)
        mask = tf.sequence_mask(number % 7 + 1, LENGTH)
        return {**batch, "padding_mask": mask}, number

    records = functools.partial(
        kmmft.data.build_dataset,
        toy_directory,
        split="train",
        training=True,
        preprocess=lambda record: {"id": record["id"]},
        batch_preprocess=lengths,
    )
    # 60 records make three pools of 20 an epoch.
    options = {"pools": records, "batch_size": 4, "pool_batches": 5}
    found = batches(18, **options)
    ids = np.concatenate([features["id"] for features, _ in found[:15]])
    assert len(np.unique(ids)) == 60
    resumed = batches(2, start_step=16, **options)
    for (one, _), (other, _) in zip(found[16:], resumed, strict=True):
        np.testing.assert_array_equal(one["id"], other["id"])


def test_bad_arguments_are_errors():
    with pytest.raises(ValueError, match="must be at least 1"):
        bucket_by_length(pools, 0)
    with pytest.raises(ValueError, match="not negative"):
        bucket_by_length(pools, 2, start_step=-1)
    with pytest.raises(ValueError, match="must have the mask 'mask'"):
        bucket_by_length(pools, 2, mask_key="mask")
    with pytest.raises(ValueError, match="must have the mask"):
        trim_padding({"image": tf.zeros((2, 3))})
