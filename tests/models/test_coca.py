import pathlib

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.models import Greedy, Sampling

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "cat"]
LENGTH = 6
TEXTS = ["a cat", "red", "a red cat", "blue cat blue cat"]


def png(value):
    return tf.io.encode_png(np.full((20, 20, 3), value, np.uint8)).numpy()


IMAGES = [png(value) for value in (0, 200, 90, 30)]


def make_decoder(num_text_layers=1):
    return kmmft.models.CrossAttentionDecoder(
        len(WORDS), 8, 1, 2, LENGTH, num_text_layers=num_text_layers
    )


def make_model(decoder=None, **kwargs):
    keras.utils.set_random_seed(1)
    model = kmmft.models.CoCa(
        kmmft.encoders.ImageEncoder(
            keras_hub.models.ViTBackbone((16, 16, 3), 8, 1, 2, 8, 16)
        ),
        decoder or make_decoder(),
        keras_hub.tokenizers.BertTokenizer(WORDS, lowercase=True),
        **{"max_length": LENGTH, "projection_dim": 4, "num_queries": 3, **kwargs},
    )
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if "logit_scale" not in weight.path:
            weight.assign(weight + 0.3 * random.normal(size=weight.shape))
    return model


@pytest.fixture(scope="module")
def model():
    return make_model()


def batch_of(model):
    raw = {"image": tf.constant(IMAGES), "text": tf.constant(TEXTS)}
    return model.preprocess(raw)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_loss_is_the_weighted_sum_of_both(model):
    inputs = batch_of(model)
    outputs = {key: x.numpy() for key, x in model(inputs).items()}
    assert outputs["image"].shape == outputs["text"].shape == (4, 4)
    cosines = outputs["image"] @ outputs["text"].T / 0.07
    both_ways = np.diag(log_softmax(cosines)) + np.diag(log_softmax(cosines.T))
    words, real = inputs["token_ids"][:, 1:], inputs["padding_mask"].numpy()[:, 1:]
    log_p = log_softmax(outputs["logits"])
    of_words = np.take_along_axis(log_p, words.numpy()[:, :, None], -1)[:, :, 0]
    model.compile(keras.optimizers.SGD(0.0))
    measured = model.evaluate(
        tf.data.Dataset.from_tensors(inputs), return_dict=True, verbose=0
    )
    contrastive, caption = -both_ways.mean() / 2, -of_words[real].mean()
    assert measured["contrastive_loss"] == pytest.approx(contrastive, abs=1e-4)
    assert measured["caption_loss"] == pytest.approx(caption, abs=1e-4)
    assert measured["loss"] == pytest.approx(contrastive + 2 * caption, abs=1e-4)


def test_loss_and_gradients_are_open_clips(model):
    golden = np.load(pathlib.Path(__file__).parent / "golden/coca.npz")
    token_ids = tf.constant(golden["token_ids"])
    inputs = {"token_ids": token_ids, "padding_mask": token_ids != 0}
    outputs = {key: tf.constant(golden[key]) for key in ("image", "text", "logits")}
    model.compile(keras.optimizers.SGD(0.0))
    model.reset_metrics()
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss = model.loss_of_step((inputs, None, None), outputs)
    expected = golden["contrastive_loss"] + golden["caption_loss"]
    assert float(loss) == pytest.approx(expected, abs=1e-5)
    gradients = tape.gradient(loss, list(outputs.values()))
    np.testing.assert_allclose(
        np.concatenate([np.ravel(one) for one in gradients]),
        golden["gradients"],
        atol=1e-5,
    )


def test_words_see_neither_later_words_nor_the_text_vectors_token(model):
    inputs = {key: x.numpy() for key, x in batch_of(model).items()}
    changed = {key: x.copy() for key, x in inputs.items()}
    changed["token_ids"][:, 3:] = 7
    changed["padding_mask"][:, 3:] = True
    before, after = model(inputs), model(changed)
    np.testing.assert_allclose(
        before["logits"][:, :3], after["logits"][:, :3], atol=1e-5
    )
    assert np.abs(before["text"] - after["text"]).max(1).min() > 1e-3
    # What stands behind the text says nothing.
    inputs["token_ids"][~inputs["padding_mask"]] = 7
    np.testing.assert_allclose(model(inputs)["text"], before["text"], atol=1e-5)


def test_greedy_captions_follow_the_models_own_logits(model):
    inputs = batch_of(model)
    expected = np.zeros((4, LENGTH), int)
    expected[:, 0] = 2
    for place in range(1, LENGTH):
        inputs["token_ids"] = tf.constant(expected, tf.int32)
        inputs["padding_mask"] = tf.ones((4, LENGTH), bool)
        expected[:, place] = model(inputs)["logits"].numpy()[:, place - 1].argmax(-1)
    written = model._texts.unpack(tf.constant(expected, tf.int32)).numpy()
    captions = model.caption(IMAGES, search=Greedy())
    assert captions == [text.decode() for text in written] and any(captions)
    assert model.caption(IMAGES, batch_size=3) == captions


def trained(run_eagerly=True, **kwargs):
    model = make_model(**kwargs)
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=run_eagerly)
    before = {weight.path: weight.numpy() for weight in model.trainable_weights}
    data = tf.data.Dataset.from_tensor_slices(batch_of(model)).batch(4)
    model.fit(data, verbose=0)
    after = {weight.path: weight.numpy() for weight in model.trainable_weights}
    return before, after


def test_replicas_equal_one_device(two_replicas):
    """The halves of the batch have 5 and 9 words."""
    before, alone = trained()
    with two_replicas.scope():
        _, together = trained(run_eagerly=False)
    for one, two in zip(alone.values(), together.values(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    moved = [np.abs(before[path] - alone[path]).max() for path in alone]
    assert np.median(moved) > 1e-3


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize(
    ("kwargs", "still", "moving"),
    [
        ({"caption_weight": 0}, "/block_0/", "contrastive_pooler"),
        ({"contrastive_weight": 0}, "contrastive_pooler", "/block_0/"),
    ],
)
def test_either_loss_alone(kwargs, still, moving):
    before, after = trained(**kwargs)
    changes = {path: np.abs(after[path] - before[path]).max() for path in after}
    assert max(x for path, x in changes.items() if still in path) == 0
    assert max(x for path, x in changes.items() if moving in path) > 1e-3


def test_served_functions_answer_as_the_model_does(model):
    served = model.serving_functions()
    assert {"encode_image", "encode_text", "caption"} <= set(served)
    assert set(served["caption"].inputs) == {"image"}
    images = tf.constant([*IMAGES, b"no image"])

    def ask(name, **raw):
        return served[name].function(**raw)

    answers = ask("caption", image=images)
    texts = [text.decode() for text in answers["text"].numpy()]
    assert texts == [*model.caption(IMAGES), ""] and answers["error"][4] != b""
    vectors = ask("encode_text", text=tf.constant(TEXTS))["embedding"]
    np.testing.assert_allclose(vectors, model.encode_text(TEXTS), atol=1e-6)
    model.search = Sampling()
    try:
        drawing = model.serving_functions()["caption"]
        assert set(drawing.inputs) == {"image", "seed"}
        made = drawing.examples({"image": images, "text": images})
        assert made["seed"].shape == (5,) and set(made) == {"image", "seed"}
    finally:
        model.search = Greedy()


def test_save_and_load(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    inputs = batch_of(model)
    for key, value in model(inputs).items():
        np.testing.assert_array_equal(again(inputs)[key], value)
    assert again.caption(IMAGES) == model.caption(IMAGES)


def test_bad_settings(model):
    for kwargs, message in [
        ({"decoder": make_decoder(0)}, "num_text_layers=0"),
        ({"max_length": 7}, r"at most 6 for this decoder\. Received: max_length=7"),
        ({"caption_weight": -1}, "must not be negative"),
        ({"caption_weight": 0, "contrastive_weight": 0}, "nor both 0"),
        ({"num_queries": 0}, "`num_queries` must be positive"),
    ]:
        with pytest.raises(ValueError, match=message):
            make_model(**kwargs)
    with pytest.raises(ValueError, match="one or more images"):
        model.caption([])
    model.micro_batch_size = 2
    try:
        model.compile(keras.optimizers.SGD(0.0))
        with pytest.raises(ValueError, match="micro_batch_size=2"):
            model.fit(batch_of(model), batch_size=4, verbose=0)
    finally:
        model.micro_batch_size = None
