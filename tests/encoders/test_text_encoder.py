"""Every text family keeps the encoder's contract."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from kmmft.encoders import ExactGeluBertBackbone, Seq2SeqEncoder, TextEncoder
from tests.encoders.text_backbones import SIZES, TEXTS, word_piece

STRINGS = ["a cat sits", "", "the Red birds on the mat the dog sits", "Cát, dog"]
# These attend to padding, by design or as KerasHub builds them.
WITHOUT_MASK = ("f_net", "siglip", "esm", "roformer_v2")


@pytest.fixture(scope="module", params=TEXTS)
def family(request):
    backbone, tokenizer = TEXTS[request.param]()
    return request.param, TextEncoder.from_backbone(backbone, tokenizer, 8)


@pytest.fixture(scope="module")
def bert():
    return TextEncoder.from_backbone(*TEXTS["bert"](), 8)


def ids(seed=0, rows=2):
    return np.random.default_rng(seed).integers(5, 20, (rows, 8)).astype("int32")


def mask(*lengths):
    return np.arange(8)[None] < np.array(lengths)[:, None]


def test_contract_and_gradient(family):
    _, encoder = family
    inputs = {"token_ids": ids(), "padding_mask": mask(8, 3)}
    with tf.GradientTape() as tape:
        outputs = encoder(inputs, training=False)
        loss = tf.reduce_sum(outputs["pooled"] ** 3)
    gradient = tape.gradient(loss, encoder.trainable_variables[0])
    assert np.abs(tf.convert_to_tensor(gradient)).max() > 0
    assert outputs["tokens"].shape == (2, 8, 8)
    assert outputs["pooled"].shape == (2, encoder.output_dim) == (2, 8)
    np.testing.assert_array_equal(outputs["mask"], mask(8, 3))
    assert encoder.sequence_length == 8


def test_padding_cannot_change_the_pooled_vector(family):
    name, encoder = family
    padding_mask = mask(6, 3)
    first = {"token_ids": ids(0), "padding_mask": padding_mask}
    other = np.where(padding_mask, ids(0), ids(1)).astype("int32")
    second = {"token_ids": other, "padding_mask": padding_mask}
    a, b = encoder(first), encoder(second)
    np.testing.assert_allclose(a["pooled"], b["pooled"], atol=1e-5)
    if name not in WITHOUT_MASK:
        short = {key: value[:, :6] for key, value in first.items()}
        np.testing.assert_allclose(a["pooled"], encoder(short)["pooled"], atol=1e-5)
    changed = np.array(ids(0))
    changed[:, :3] = (changed[:, :3] - 4) % 14 + 5
    c = encoder({"token_ids": changed, "padding_mask": padding_mask})
    assert np.abs(a["pooled"] - c["pooled"]).max(axis=1).min() > 1e-6


def test_preprocess(family):
    name, encoder = family
    if encoder.tokenizer is None:
        with pytest.raises(ValueError, match="needs a tokenizer"):
            encoder.preprocess(STRINGS)
        return
    # In the graph first: the tables must not be born inside it.
    dataset = tf.data.Dataset.from_tensor_slices(STRINGS).batch(4)
    in_graph = next(iter(dataset.map(encoder.preprocess)))
    eagerly = encoder.preprocess(tf.constant(STRINGS))
    assert in_graph["token_ids"].shape == (4, 8)
    assert in_graph["token_ids"].dtype == tf.int32
    assert in_graph["padding_mask"].dtype == tf.bool
    for key in eagerly:
        np.testing.assert_array_equal(in_graph[key], eagerly[key])
    check_special_tokens(name, encoder.tokenizer, eagerly)


def check_special_tokens(name, tokenizer, inputs):
    token_ids = inputs["token_ids"].numpy()
    real = inputs["padding_mask"].numpy()
    lengths = real.sum(axis=1)
    starts = name not in ("t5", "siglip")
    assert lengths[1] == 1 + starts  # the empty string
    assert lengths[2] == 8  # truncated, and still ended
    last = token_ids[np.arange(4), lengths - 1]
    np.testing.assert_array_equal(last, [tokenizer.end_token_id] * 4)
    if starts:
        assert set(token_ids[:, 0]) == {tokenizer.start_token_id}
    assert set(token_ids[~real]) == {tokenizer.pad_token_id}


def test_a_new_seed_does_not_lose_the_tokenizer():
    # tf.random.set_seed clears kernels, and with them eager SentencePiece models.
    encoder = TextEncoder.from_backbone(*TEXTS["t5"](), 8)
    before = encoder.preprocess(STRINGS)["token_ids"]
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(encoder.preprocess(STRINGS)["token_ids"], before)


@pytest.mark.parametrize("name", ["bert", "t5", "clip", "siglip", "albert", "roberta"])
def test_survives_a_file(name, tmp_path):
    backbone, tokenizer = TEXTS[name]()
    encoder = TextEncoder.from_backbone(backbone, tokenizer, 8)
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    inputs = {"token_ids": ids(), "padding_mask": mask(8, 3)}
    for key in ("pooled", "tokens", "mask"):
        np.testing.assert_array_equal(loaded(inputs)[key], encoder(inputs)[key])
    assert loaded.get_config().keys() == encoder.get_config().keys()
    assert loaded.tokenizer.get_vocabulary() == tokenizer.get_vocabulary()
    for key, value in encoder.preprocess(STRINGS).items():
        np.testing.assert_array_equal(loaded.preprocess(STRINGS)[key], value)


def test_poolings_against_numpy(bert):
    inputs = {"token_ids": ids(), "padding_mask": mask(8, 3)}
    tokens = bert(inputs)["tokens"].numpy()
    own = bert.backbone(
        {
            "token_ids": ids(),
            "padding_mask": mask(8, 3).astype("int32"),
            "segment_ids": np.zeros((2, 8), "int32"),
        }
    )
    expected = {
        "cls": tokens[:, 0],
        "last": np.stack([tokens[0, 7], tokens[1, 2]]),
        "mean": np.stack([tokens[0].mean(0), tokens[1, :3].mean(0)]),
        "max": np.stack([tokens[0].max(0), tokens[1, :3].max(0)]),
        "pooler": own["pooled_output"],
        None: tokens[:, 0],
    }
    for pooling, value in expected.items():
        encoder = TextEncoder(bert.backbone, None, 8, pooling=pooling)
        np.testing.assert_allclose(encoder(inputs)["pooled"], value, atol=1e-6)


@pytest.mark.parametrize("pooling", ["cls", "last", "mean", "max"])
def test_a_row_without_text_is_finite(bert, pooling):
    encoder = TextEncoder(bert.backbone, None, 8, pooling=pooling)
    outputs = encoder({"token_ids": ids(), "padding_mask": mask(0, 8)})
    assert np.all(np.isfinite(outputs["pooled"]))


@pytest.fixture(scope="module")
def clip():
    vision = keras_hub.models.CLIPVisionEncoder(
        16, 8, 1, 2, 16, image_shape=(32, 32, 3)
    )
    text = keras_hub.models.CLIPTextEncoder(20, 8, 8, 1, 2, 16, max_sequence_length=8)
    return keras_hub.models.CLIPBackbone(vision, text, projection_dim=5)


def test_clip_gives_its_published_embedding(clip):
    encoder = TextEncoder.from_backbone(clip, None)
    token_ids = np.array([[1, 5, 6, 19, 0, 0, 0, 0], [1, 5, 6, 7, 8, 9, 10, 19]])
    inputs = {"token_ids": token_ids, "padding_mask": mask(4, 8)}
    np.testing.assert_allclose(
        encoder(inputs)["pooled"], clip.get_text_embeddings(token_ids), atol=1e-5
    )
    assert encoder.sequence_length == 8


def test_t5_encoder_half_has_no_decoder_and_the_same_numbers():
    t5 = keras_hub.models.T5Backbone(60, **SIZES)
    half = Seq2SeqEncoder(t5)
    inputs = {"token_ids": ids(), "padding_mask": mask(8, 3).astype("int32")}
    whole = t5(
        {
            "encoder_token_ids": inputs["token_ids"],
            "encoder_padding_mask": inputs["padding_mask"],
            "decoder_token_ids": inputs["token_ids"],
            "decoder_padding_mask": inputs["padding_mask"],
        }
    )
    np.testing.assert_array_equal(half(inputs), whole["encoder_sequence_output"])
    assert not any("decoder" in weight.path for weight in half.weights)
    assert len(half.weights) < len(t5.weights)


def test_what_does_not_fit_is_named(bert):
    gpt2 = keras_hub.models.GPT2Backbone(10, 1, 1, 4, 4)
    with pytest.raises(ValueError, match=r"must be a text encoder.*GPT2Backbone"):
        TextEncoder.from_backbone(gpt2, None, 8)
    with pytest.raises(ValueError, match=r"at most 512.*Received: 513"):
        TextEncoder(bert.backbone, None, 513)
    with pytest.raises(ValueError, match=r"must be 8.*Received: 6"):
        TextEncoder(TEXTS["siglip"]()[0], None, 6)
    with pytest.raises(ValueError, match="pooling='pooler'"):
        TextEncoder(TEXTS["roberta"]()[0], None, 8, pooling="pooler")
    with pytest.raises(ValueError, match="batch of strings"):
        bert.preprocess("one text")


def test_exact_gelu_survives_the_config():
    bert = keras_hub.models.BertBackbone(20, **SIZES)
    exact = ExactGeluBertBackbone.from_backbone(bert)
    clone = ExactGeluBertBackbone.from_config(exact.get_config())
    clone.set_weights(bert.get_weights())
    dense = clone.transformer_layers[0]._feedforward_intermediate_dense
    x = np.linspace(-3, 3, 50).astype("float32")
    from math import erf

    expected = [0.5 * v * (1 + erf(v / 2**0.5)) for v in x]
    np.testing.assert_allclose(dense.activation(x), expected, atol=1e-6)
    inputs = {
        "token_ids": ids() % 20,
        "padding_mask": np.ones((2, 8), "int32"),
        "segment_ids": np.zeros((2, 8), "int32"),
    }
    a, b, c = (m(inputs)["sequence_output"] for m in (exact, clone, bert))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0  # the approximation is another function


def test_siglip_texts_are_canonicalised():
    encoder = TextEncoder.from_backbone(*TEXTS["siglip"](), 8)
    a = encoder.preprocess(["A  cat, sits!"])["token_ids"]
    b = encoder.preprocess(["a cat sits"])["token_ids"]
    np.testing.assert_array_equal(a, b)


def test_uncased_presets_strip_accents(bert, tmp_path):
    plain = word_piece(keras_hub.models.BertTokenizer)
    assert not plain.strip_accents
    bert.backbone.save_to_preset(tmp_path)
    plain.save_to_preset(tmp_path)
    encoder = TextEncoder.from_preset(str(tmp_path), sequence_length=4)
    np.testing.assert_array_equal(
        encoder.preprocess(["Cát"])["token_ids"],
        encoder.preprocess(["cat"])["token_ids"],
    )
    inputs = {"token_ids": ids(), "padding_mask": mask(8, 3)}
    np.testing.assert_array_equal(encoder(inputs)["pooled"], bert(inputs)["pooled"])


def test_preprocess_and_model_export_together(bert, tmp_path):
    archive = keras.export.ExportArchive()
    archive.track(bert)

    def encode(texts):
        return bert(bert.preprocess(texts))["pooled"]

    expected = tf.function(encode)(tf.constant(STRINGS))
    archive.add_endpoint("encode", encode, [tf.TensorSpec([None], tf.string)])
    archive.write_out(tmp_path / "export", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "export")
    np.testing.assert_array_equal(loaded.encode(tf.constant(STRINGS)), expected)
