"""Texts that share a row come out as if each had one of its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmmft.encoders import TextEncoder, TextPacking
from tests.encoders.text_backbones import TEXTS

LENGTHS = np.array([3, 8, 1, 0, 5, 2, 2, 7])
MASK = np.arange(8) < LENGTHS[:, None]
IDS = np.random.default_rng(0).integers(5, 20, (8, 8)).astype("int32")


@pytest.fixture(
    scope="module", params=["albert", "bert", "roberta", "distil_bert", "electra"]
)
def encoders(request):
    """The same backbone with a text a row and with several."""
    backbone, tokenizer = TEXTS[request.param]()
    return [
        TextEncoder(backbone, tokenizer, 8, packed_length=length)
        for length in (None, 12)
    ]


def test_packed_texts_have_the_same_features_and_gradients(encoders):
    outputs, gradients = [], []
    for encoder in encoders:
        with tf.GradientTape() as tape:
            result = encoder({"token_ids": IDS, "padding_mask": MASK}, training=False)
            # All but the empty text, whose vector is that of its padding.
            pooled = result["pooled"][LENGTHS > 0]
            loss = tf.reduce_sum(tf.sin(7.0 * pooled))
        outputs.append(
            (pooled, tf.where(MASK[..., None], result["tokens"], 0), result["mask"])
        )
        # The backbone's own pooler has none.
        found = tape.gradient(loss, encoder.trainable_variables)
        gradients.append([tf.convert_to_tensor(x) for x in found if x is not None])
    assert len(gradients[0]) == len(gradients[1]) > 15
    for ours, theirs in zip(*outputs, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=5e-5)


def test_a_masked_token_inside_a_text_is_not_attended_to(encoders):
    mask = MASK.copy()
    mask[1, 2] = mask[4, 0] = False
    tokens = [
        encoder({"token_ids": IDS, "padding_mask": mask})["tokens"]
        for encoder in encoders
    ]
    expected = np.where(mask[..., None], tokens[0], 0)
    found = np.where(mask[..., None], tokens[1], 0)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_rows_by_hand():
    packing = TextPacking(row_length=9, pad_token_id=99)
    rows = packing(IDS, MASK)
    # Longest first, each in the first row with room: 8+1 | 7+2 | 5+3 | 2.
    found = rows["token_ids"].numpy()
    expected = np.full((4, 9), 99)
    for row, texts in enumerate([(1, 2), (7, 5), (4, 0), (6,)]):
        joined = np.concatenate([IDS[text, : LENGTHS[text]] for text in texts])
        expected[row, : len(joined)] = joined
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(rows["positions"][2], [0, 1, 2, 3, 4, 0, 1, 2, 0])
    np.testing.assert_array_equal(rows["padding_mask"].numpy().sum(1), [9, 9, 8, 2])
    block = np.zeros((9, 9), bool)
    block[:5, :5] = block[5:8, 5:8] = True
    np.testing.assert_array_equal(rows["attention_mask"][2], block)


@pytest.mark.parametrize("rows", [0, 1, 40])
def test_random_batches_lose_and_mix_nothing(rows):
    random = np.random.default_rng(rows)
    mask = np.arange(16) < random.integers(0, 17, (rows, 1))
    ids = np.arange(1, rows * 16 + 1).reshape(rows, 16)
    packed = TextPacking(row_length=20)(ids, mask)
    flat = np.append(packed["token_ids"].numpy().ravel(), 0)
    np.testing.assert_array_equal(flat[packed["homes"]], np.where(mask, ids, 0))
    assert np.count_nonzero(flat) == mask.sum()


def test_texts_longer_than_a_row_have_longer_rows():
    packed = TextPacking(row_length=4)(IDS, MASK)
    assert packed["token_ids"].shape == (4, 8)


def test_config_and_the_exported_graph(encoders, tmp_path):
    encoder = encoders[1]
    copy = TextEncoder.from_config(encoder.get_config())
    assert copy.packed_length == 12
    inputs = {"token_ids": IDS, "padding_mask": MASK}
    signature = tf.nest.map_structure(
        lambda value: tf.TensorSpec((None, None), value.dtype), inputs
    )
    graph = tf.function(lambda x: encoder(x)["pooled"], input_signature=[signature])
    np.testing.assert_allclose(graph(inputs), encoder(inputs)["pooled"], atol=1e-6)


def test_what_cannot_be_packed_is_refused():
    backbone, tokenizer = TEXTS["clip"]()
    with pytest.raises(ValueError, match="Received: a CLIPText"):
        TextEncoder(backbone, tokenizer, 8, packed_length=16)
    with pytest.raises(ValueError, match="pooling='pooler'"):
        TextEncoder(*TEXTS["bert"](), 8, pooling="pooler", packed_length=16)
    with pytest.raises(ValueError, match="Received: row_length=0"):
        TextPacking(0)
    assert keras.saving.serialize_keras_object(TextPacking(5))
