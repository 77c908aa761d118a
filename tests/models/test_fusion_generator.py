import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.models import BeamSearch, Greedy, Sampling
from kmmft.models.text_generation import token_context

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "a", "red", "cat"]
MAX_LENGTH = 6
BEAMS = BeamSearch(3, length_penalty=4.0)


def make_decoder(prefix=False, dropout=0.0):
    if prefix:
        return kmmft.models.PrefixDecoder(
            keras_hub.models.GPT2Backbone(
                len(WORDS), 1, 2, 8, 16, dropout=dropout, max_sequence_length=16
            )
        )
    return kmmft.models.CrossAttentionDecoder(
        len(WORDS), 8, 1, 2, MAX_LENGTH, dropout_rate=dropout
    )


def make_model(names=("image", "question"), prefix=False, seed=0, **kwargs):
    keras.utils.set_random_seed(1)
    encoders = {
        "image": lambda: kmmft.encoders.ImageEncoder(
            keras_hub.models.ViTBackbone((16, 16, 3), 8, 1, 2, 8, 16)
        ),
        "question": lambda: kmmft.encoders.TextEncoder(
            keras_hub.models.BertBackbone(len(WORDS), 1, 2, 8, 16, dropout=0.0),
            keras_hub.tokenizers.BertTokenizer(WORDS, lowercase=True),
            sequence_length=4,
        ),
    }
    decoder = make_decoder(prefix)
    model = kmmft.models.FusionGenerator(
        {name: encoders[name]() for name in names},
        decoder,
        keras_hub.tokenizers.BertTokenizer(WORDS, lowercase=True),
        **{"max_length": MAX_LENGTH, "search": BEAMS, **kwargs},
    )
    random = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(weight + 0.3 * random.normal(size=weight.shape))
    return model


@pytest.fixture(scope="module")
def model():
    return make_model(["image"])


@pytest.fixture(scope="module")
def prefix_model():
    return make_model(["question"], prefix=True)


@pytest.fixture(scope="module")
def fused_model():
    return make_model(fusion=kmmft.layers.BilinearFusion(8), seed=7)


def png(value):
    return tf.io.encode_png(np.full((20, 20, 3), value, np.uint8)).numpy()


RAW = {
    "image": [png(value) for value in (0, 200, 90, 30)],
    "question": ["what", "what a", "", "red"],
}
CAPTIONS = ["a cat", "red", "", "cat cat cat cat cat cat"]


def raw_of(model):
    return {modality: tf.constant(RAW[modality]) for modality in model.encoders}


def batch_of(model):
    batch = model.preprocess(raw_of(model))
    return model.teach(batch, tf.constant(CAPTIONS))


def test_each_place_is_taught_its_next_word():
    model = make_model()
    inputs, words, weights = batch_of(model)
    assert inputs["target_token_ids"].numpy().tolist() == [
        [2, 6, 8, 3, 0],
        [2, 7, 3, 0, 0],
        [2, 3, 0, 0, 0],
        [2, 8, 8, 8, 8],
    ]
    assert words.numpy().tolist() == [
        [6, 8, 3, 0, 0],
        [7, 3, 0, 0, 0],
        [3, 0, 0, 0, 0],
        [8, 8, 8, 8, 3],
    ]
    assert weights.numpy().sum(1).tolist() == [3, 2, 1, 5]
    assert model(inputs).shape == (4, MAX_LENGTH - 1, len(WORDS))


@pytest.mark.parametrize("name", ["model", "prefix_model"])
def test_cached_steps_equal_one_pass(name, request):
    model = request.getfixturevalue(name)
    random = np.random.default_rng(1)
    token_ids = tf.constant(random.integers(0, len(WORDS), (4, 5)), tf.int32)
    context = tf.constant(random.normal(size=(4, 8, 8)), tf.float32)
    mask = tf.constant(random.random((4, 8)) > 0.4)
    decoder = model.decoder
    whole = decoder(token_ids, context, mask)
    memory, cache = decoder.begin(context, mask, 5)
    for place in range(5):
        logits, cache = decoder.step(
            token_ids[:, place : place + 1], tf.constant(place), memory, cache
        )
        np.testing.assert_allclose(logits, whole[:, place], atol=1e-5)
    # Padding in the context or behind the text says nothing.
    hidden = tf.where(mask[:, :, None], context, 77.0)
    np.testing.assert_allclose(decoder(token_ids, hidden, mask), whole, atol=1e-5)
    changed = tf.concat([token_ids[:, :3], token_ids[:, 3:] * 0 + 1], axis=1)
    again = decoder(changed, context, mask)
    np.testing.assert_allclose(again[:, :3], whole[:, :3], atol=1e-5)
    assert np.abs(again[:, 3:] - whole[:, 3:]).max() > 1e-3


@pytest.mark.parametrize("name", ["model", "prefix_model", "fused_model"])
def test_greedy_texts_follow_the_models_own_logits(name, request):
    model = request.getfixturevalue(name)
    inputs, *_ = batch_of(model)
    expected = np.full((4, MAX_LENGTH), 0)
    expected[:, 0] = 2
    for place in range(1, MAX_LENGTH):
        inputs["target_token_ids"] = tf.constant(expected[:, :-1], tf.int32)
        inputs["target_padding_mask"] = tf.ones((4, MAX_LENGTH - 1), bool)
        expected[:, place] = model(inputs).numpy()[:, place - 1].argmax(-1)
    written = [
        " ".join(WORDS[word] for word in words[1:] if word).split(" [SEP]")[0]
        for words in expected
    ]
    texts = model.generate(raw_of(model), search=Greedy())
    assert texts == [text.removeprefix("[SEP]").strip() for text in written]
    assert len(set(texts)) > 1


def test_loss_is_the_mean_over_words():
    model = make_model(["image"])
    inputs, words, weights = batch_of(model)
    logits = model(inputs).numpy()
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    rows = -np.take_along_axis(log_p, words.numpy()[:, :, None], -1)[:, :, 0]
    expected = (rows * weights.numpy()).sum() / 11
    right = ((logits.argmax(-1) == words.numpy()) * weights.numpy()).sum() / 11
    model.compile(keras.optimizers.SGD(0.0))
    data = tf.data.Dataset.from_tensors((inputs, words, weights))
    measured = model.evaluate(data, return_dict=True, verbose=0)
    assert measured["loss"] == pytest.approx(expected, abs=1e-5)
    assert measured["word_accuracy"] == pytest.approx(right, abs=1e-5)


def trained(micro_batch_size=None):
    model = make_model(["image"])
    model.micro_batch_size = micro_batch_size
    model.compile(keras.optimizers.SGD(0.5))
    data = tf.data.Dataset.from_tensor_slices(batch_of(model)).batch(4)
    model.fit(data, verbose=0)
    return [weight.numpy() for weight in model.trainable_weights]


def test_replicas_and_micro_batches_equal_one_device(two_replicas):
    """The halves of the batch have 5 and 6 words, its quarters 3, 2, 1 and 5."""
    before = [weight.numpy() for weight in make_model(["image"]).trainable_weights]
    alone = trained()
    in_parts = trained(micro_batch_size=1)
    with two_replicas.scope():
        together = trained()
    for start, one, parts, two in zip(before, alone, in_parts, together, strict=True):
        np.testing.assert_allclose(one, parts, atol=1e-5)
        np.testing.assert_allclose(one, two, atol=1e-5)
        assert start.shape == one.shape
    moved = [np.abs(a - b).max() for a, b in zip(before, alone, strict=True)]
    assert np.median(moved) > 1e-3


@pytest.mark.parametrize("prefix", [False, True])
def test_dropout_acts_in_training_alone(prefix):
    decoder = make_decoder(prefix, dropout=0.5)
    inputs = np.ones((2, 3), int), np.ones((2, 4, 8)), np.ones((2, 4), bool)
    assert np.abs(decoder(*inputs, training=True) - decoder(*inputs)).max() > 1e-3
    np.testing.assert_array_equal(decoder(*inputs), decoder(*inputs))


@pytest.mark.parametrize("name", ["model", "prefix_model", "fused_model"])
def test_save_and_load(name, request, tmp_path):
    model = request.getfixturevalue(name)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    inputs, *_ = batch_of(model)
    np.testing.assert_array_equal(again(inputs), model(inputs))
    assert repr(again.search) == repr(model.search)
    assert again.target == "caption" and list(again.encoders) == list(model.encoders)
    assert again.tokenizer.get_vocabulary() == WORDS


def test_the_fused_vector_stands_before_the_tokens(fused_model):
    model = fused_model
    inputs = model.preprocess(raw_of(model))
    parts = model.encoders, model.projections, inputs
    tokens, mask = token_context(*parts)
    context, whole_mask = token_context(*parts, model.fusion)
    features = {
        modality: encoder(model.select(modality, inputs))
        for modality, encoder in model.encoders.items()
    }
    fused = model.projections["fused"](model.fusion(features)[:, None])
    np.testing.assert_allclose(context[:, :1], fused, atol=1e-5)
    np.testing.assert_allclose(context[:, 1:], tokens, atol=1e-5)
    assert whole_mask[:, 0].numpy().all()
    np.testing.assert_array_equal(whole_mask[:, 1:], mask)


def test_a_model_that_draws_is_served_with_a_seed(model):
    model.search = Sampling(top_k=3)
    try:
        asked = model.serving_functions()["serving_default"]
        served = tf.function(
            lambda **raw: asked.function(**raw)["text"], autograph=False
        )
        texts, again, others = (
            served(**raw_of(model), seed=tf.constant([seed] * 4)).numpy().tolist()
            for seed in (4, 4, 5)
        )
    finally:
        model.search = BEAMS
    assert set(asked.inputs) == {"image", "seed"}
    assert texts == again != others


def test_batches_of_near_seeds_draw_other_texts(model):
    image = raw_of(model)["image"].numpy()[0]
    one, two = (
        model.generate({"image": [image] * 8}, 4, Sampling(temperature=3.0), seed)
        for seed in (6, 7)
    )
    assert one[:4] != one[4:] != two[:4] != two[4:]
    again = model.generate({"image": [image] * 8}, 4, Sampling(temperature=3.0), 6)
    assert one == again


def test_records_become_batches(model):
    batch = {
        "image": tf.zeros((2, 16, 16, 3)),
        "caption": tf.constant(["a cat", "red"]),
        "id": tf.constant(["x", "y"]),
    }
    inputs, words, weights = model.prepare_batch(batch)
    assert set(inputs) == set(model.input)
    assert words.shape == weights.shape == (2, MAX_LENGTH - 1)
    kept = model.prepare_batch(batch, keep_records=True)
    assert kept["id"].numpy().tolist() == [b"x", b"y"]
    assert set(kept) == set(batch)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"max_length": 2}, "`max_length` must be 3 or more"),
        ({"max_length": 9}, r"at most 7 for this decoder\. Received: max_length=9"),
        ({"target": "image"}, "no encoder's name"),
    ],
)
def test_bad_settings(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_model(**kwargs)


def test_bad_parts(model):
    decoder = kmmft.models.CrossAttentionDecoder(7, 8, 1, 2, MAX_LENGTH)
    with pytest.raises(ValueError, match=r"same number of words.*9 and 7"):
        kmmft.models.FusionGenerator(
            model.encoders, decoder, model.tokenizer, MAX_LENGTH
        )
    with pytest.raises(ValueError, match="needs an encoder"):
        kmmft.models.FusionGenerator({}, decoder, model.tokenizer, MAX_LENGTH)
    with pytest.raises(ValueError, match="must divide `hidden_dim`"):
        kmmft.models.CrossAttentionDecoder(9, 8, 1, 3, MAX_LENGTH)
    with pytest.raises(ValueError, match=r"GPT2Backbone.*ViTBackbone"):
        kmmft.models.PrefixDecoder(model.encoders["image"].backbone)
    with pytest.raises(ValueError, match="from a start to an end token"):
        kmmft.models.TokenTexts(keras_hub.tokenizers.WordPieceTokenizer(WORDS), 5)
    with pytest.raises(ValueError, match=r"modalities \['image'\]"):
        model.generate({"question": ["a"]})
    with pytest.raises(ValueError, match="at least one"):
        model.generate({"image": []})
    with pytest.raises(ValueError, match="row 1 of 'image', b'abc': Unknown"):
        model.generate({"image": [*raw_of(model)["image"].numpy()[:1], b"abc"]})


def test_a_context_that_is_too_long_for_the_language_model():
    decoder = kmmft.models.PrefixDecoder(
        keras_hub.models.GPT2Backbone(9, 1, 2, 8, 16, max_sequence_length=8)
    )
    with pytest.raises(ValueError, match="fit into the backbone's 8 places"):
        decoder(np.ones((1, 3), int), np.ones((1, 6, 8)), np.ones((1, 6), bool))
