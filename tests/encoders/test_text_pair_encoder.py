import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from kmmft.encoders import TextPairEncoder
from kmmft.encoders.families import TextFamily
from kmmft.encoders.token_packer import TokenPacker

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "red"]


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(0)
    return TextPairEncoder(
        keras_hub.models.BertBackbone(8, 1, 2, 8, 16),
        keras_hub.models.BertTokenizer(WORDS, lowercase=True),
        sequence_length=9,
    )


PAIRS = [("A cat", "red"), ("a " * 9, "red cat"), ("a", "cat " * 9)]
PAIRS += [("a " * 9, "cat " * 9), ("", ""), ("red", "")]


def test_pairs_are_packed_as_by_keras_hub(encoder):
    packed = encoder.preprocess(tf.constant(PAIRS))
    words = [
        tf.ragged.constant([[WORDS.index(w) for w in t.lower().split()] for t in texts])
        for texts in zip(*PAIRS, strict=True)
    ]
    packer = keras_hub.layers.MultiSegmentPacker(9, 2, 3, truncate="round_robin")
    token_ids, segment_ids = packer(tuple(words))
    np.testing.assert_array_equal(packed["token_ids"], token_ids)
    np.testing.assert_array_equal(packed["segment_ids"], segment_ids)
    np.testing.assert_array_equal(packed["padding_mask"], token_ids != 0)


def test_two_separators_and_no_start():
    tokenizer = keras_hub.tokenizers.BertTokenizer(WORDS, lowercase=True)
    family = TextFamily(start=False, separators=2)
    packer = TokenPacker(tokenizer, family, 7)
    first = tf.ragged.constant([[5], [5, 5, 5]])
    packed = packer.pack(first, tf.ragged.constant([[6, 6], [6, 6]]))
    # The second text loses what has no room.
    expected = [[5, 3, 3, 6, 6, 3, 0], [5, 5, 5, 3, 3, 6, 3]]
    np.testing.assert_array_equal(packed.token_ids, expected)
    np.testing.assert_array_equal(packed.second_start, [3, 5])


def test_segments_reach_the_backbone(encoder):
    inputs = encoder.preprocess([["a cat", "red"]])
    together = encoder(inputs)["tokens"]
    zeros = tf.zeros_like(inputs["segment_ids"])
    alone = encoder({**inputs, "segment_ids": zeros})["tokens"]
    assert np.abs(together - alone).max() > 1e-3


def test_bad_pairs(encoder):
    with pytest.raises(ValueError, match=r"pairs of strings, shape \(batch, 2\)"):
        encoder.preprocess(["a", "cat"])
    with pytest.raises(ValueError, match=r"must be 5 or more for two texts.*4"):
        TextPairEncoder(encoder.backbone, encoder.tokenizer, sequence_length=4)
