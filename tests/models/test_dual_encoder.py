import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from tests.models import contrastive_cases as cases
from tests.models.test_fusion_classifier import WORDS, png

TEXTS = ["what color", "red", "what red ?"]


def text_encoder(name="text_encoder", hidden_dim=8):
    return kmmft.encoders.TextEncoder(
        keras_hub.models.BertBackbone(len(WORDS), 1, 2, hidden_dim, 16),
        keras_hub.models.BertTokenizer(WORDS, lowercase=True),
        sequence_length=6,
        name=name,
    )


def make_model(**kwargs):
    keras.utils.set_random_seed(1)
    vit = keras_hub.models.ViTBackbone((16, 16, 3), 8, 1, 2, 8, 16)
    encoders = {"image": kmmft.encoders.ImageEncoder(vit), "text": text_encoder()}
    return kmmft.models.DualEncoder(encoders, **{"projection_dim": 4} | kwargs)


@pytest.fixture(scope="module")
def model():
    return make_model()


def test_output_is_one_vector_of_length_one_a_modality(model):
    raw = {"image": tf.constant([png(3), png(200)]), "text": tf.constant(TEXTS[:2])}
    vectors = model(model.preprocess(raw))
    assert {key: tuple(value.shape) for key, value in vectors.items()} == {
        "image": (2, 4),
        "text": (2, 4),
    }
    for value in vectors.values():
        np.testing.assert_allclose(np.linalg.norm(value, axis=1), 1.0, rtol=1e-5)


def test_encode_equals_the_model_in_any_batches(model):
    images = [png(value) for value in (3, 90, 200)]
    raw = {"image": tf.constant(images), "text": tf.constant(TEXTS)}
    vectors = model(model.preprocess(raw))
    for batch_size in (1, 2, 64):
        encoded = model.encode_image(images, batch_size)
        np.testing.assert_allclose(encoded, vectors["image"], atol=1e-6)
        encoded = model.encode_text(TEXTS, batch_size)
        np.testing.assert_allclose(encoded, vectors["text"], atol=1e-6)


def test_encode_takes_decoded_images(model):
    decoded = model.encoders["image"].preprocess(tf.constant([png(3)])).numpy()
    np.testing.assert_allclose(
        model.encode_image(decoded), model.encode_image([png(3)]), atol=1e-6
    )


def test_similarity_is_the_cosine(model):
    a, b = model.encode_image([png(3), png(9)]), model.encode_text(TEXTS)
    expected = [[np.dot(x, y) for y in b] for x in a]
    np.testing.assert_allclose(model.similarity(a, b), expected, atol=1e-6)


def test_zero_shot_classifier_averages_templates(model):
    weights = model.zero_shot_classifier(["red", "color"], ["what {}", "{} ?"])
    for name, row in zip(["red", "color"], weights, strict=True):
        mean = model.encode_text([f"what {name}", f"{name} ?"]).mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-5)


def test_braces_in_a_class_name_are_kept(model):
    weights = model.zero_shot_classifier(["red {0}"], ["what {}"])
    np.testing.assert_allclose(weights, model.encode_text(["what red {0}"]), atol=1e-5)


def test_saved_and_loaded_model_is_the_same(tmp_path):
    model = make_model(logit_bias=-10.0, logit_scale=10.0, micro_batch_size=2)
    model.compile("adam", kmmft.losses.SigLIP(chunk_size=2))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.encode_text(TEXTS), model.encode_text(TEXTS))
    assert float(loaded.logit_bias) == -10.0
    assert loaded.micro_batch_size == 2
    assert isinstance(loaded.loss_function, kmmft.losses.SigLIP)
    assert loaded.loss_function.chunk_size == 2
    assert list(loaded.encoders) == ["image", "text"]


def test_three_towers_train():
    """The loss is the mean over the three pairs, by hand."""
    keras.utils.set_random_seed(1)
    encoders = {
        "image": cases.image_encoder(),
        "text": text_encoder("text_encoder"),
        "title": text_encoder("title_encoder"),
    }
    model = kmmft.models.DualEncoder(encoders, projection_dim=4)
    model.compile("sgd")
    raw = {
        "image": tf.constant([png(3), png(90), png(200)]),
        "text": tf.constant(TEXTS),
        "title": tf.constant(TEXTS[::-1]),
    }
    inputs = model.preprocess(raw)
    vectors = {key: value.numpy() for key, value in model(inputs).items()}
    losses = []
    for a, b in (("image", "text"), ("image", "title"), ("text", "title")):
        logits = vectors[a] @ vectors[b].T / 0.07
        for rows in (logits, logits.T):
            losses.append(-np.diag(rows - np.log(np.exp(rows).sum(1, keepdims=True))))
    expected = np.mean(losses) + float(sum(model.losses))
    logs = model.evaluate(
        tf.data.Dataset.from_tensors(inputs), verbose=0, return_dict=True
    )
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)
    assert model.fit(tf.data.Dataset.from_tensors(inputs), verbose=0)


def test_mlp_heads():
    heads = {
        "image": kmmft.layers.ProjectionHead(4, hidden_dims=(6,), name="image_head"),
        "text": kmmft.layers.ProjectionHead(4, hidden_dims=(6,), name="text_head"),
    }
    model = make_model(projection_dim=None, projections=heads)
    assert model.encode_text(["red"]).shape == (1, 4)


def test_towers_of_one_width_need_no_projection():
    assert make_model(projection_dim=None).encode_text(["red"]).shape == (1, 8)


def test_towers_of_different_width_are_refused():
    vit = keras_hub.models.ViTBackbone((16, 16, 3), 8, 1, 2, 8, 16)
    encoders = {
        "image": kmmft.encoders.ImageEncoder(vit),
        "text": text_encoder(hidden_dim=6),
    }
    with pytest.raises(ValueError, match=r"'image': 8, 'text': 6.*projection_dim"):
        kmmft.models.DualEncoder(encoders)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projections": {}}, "Either `projection_dim` or `projections`"),
        (
            {
                "projection_dim": None,
                "projections": {"sound": kmmft.layers.ProjectionHead(4)},
            },
            r"projections for \['sound'\]",
        ),
        ({"micro_batch_size": 0}, "micro_batch_size=0"),
        ({"logit_scale": 200.0}, "initial"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        make_model(**options)


def test_one_encoder_is_not_enough():
    with pytest.raises(ValueError, match=r"two encoders or more.*\['text'\]"):
        kmmft.models.DualEncoder({"text": text_encoder()})


def test_encoders_of_one_name():
    with pytest.raises(ValueError, match="different names"):
        kmmft.models.DualEncoder({"text": text_encoder(), "title": text_encoder()})


def test_loss_must_be_contrastive(model):
    with pytest.raises(ValueError, match="must be a contrastive loss"):
        model.compile("sgd", "mse")


def test_siglip_needs_a_bias(model):
    with pytest.raises(ValueError, match="logit_bias=-10"):
        model.compile("sgd", kmmft.losses.SigLIP())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.encode("sound", ["a"]), r"one of \['image', 'text'\]"),
        (lambda m: m.encode_text([]), "something to encode"),
        (lambda m: m.encode_text(["a"], None), "`batch_size` must be.*None"),
        (lambda m: m.encode_image([b"abc"]), "row 0 of 'image', b'abc': Unknown"),
        (lambda m: m.zero_shot_classifier(["a", "a"]), "each class once"),
        (lambda m: m.zero_shot_classifier(["a"], ["no place"]), "where the class"),
    ],
)
def test_bad_questions(call, message, model):
    with pytest.raises(ValueError, match=message):
        call(model)


def test_prepare_batch_groups_by_id_hard_negatives_and_teacher(model):
    batch = {
        "id": tf.constant(["a", "b", "a"]),
        "image": tf.zeros((3, 16, 16, 3)),
        "text": tf.constant(TEXTS),
        "negative_text": tf.constant([["red", "what"]] * 3),
        "teacher_text": tf.ones((3, 5)),
    }
    inputs, group = model.prepare_batch(batch)
    assert group[0] == group[2] != group[1]
    assert inputs["negative_token_ids"].shape == (3, 2, 6)
    assert inputs["negative_padding_mask"].shape == (3, 2, 6)
    assert inputs["teacher_text"].shape == (3, 5)
    batch["example_group"] = tf.constant([4, 5, 6])
    assert model.prepare_batch(batch)[1].numpy().tolist() == [4, 5, 6]


def test_learns_to_tell_colours():
    """Real training: pairs of colour and word find each other."""
    colours = {"red": (220, 20, 20), "what": (20, 20, 220), "color": (20, 200, 20)}
    model = make_model()
    model.compile(keras.optimizers.Adam(3e-3))
    images = tf.stack([tf.ones((16, 16, 3)) * rgb for rgb in colours.values()])
    inputs = model.preprocess({"image": images, "text": tf.constant(list(colours))})
    data = tf.data.Dataset.from_tensors(inputs).repeat(150)
    model.fit(data, verbose=0)
    answers = model.similarity(
        model.encode_image(images), model.zero_shot_classifier(list(colours))
    )
    assert answers.argmax(axis=1).tolist() == [0, 1, 2]


def clip_checkpoint(folder):
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    models = keras_hub.models
    image = kmmft.encoders.ImageEncoder(
        models.CLIPVisionEncoder(16, image_shape=(32, 32, 3), **sizes),
        projection=keras.layers.Dense(4, use_bias=False),
    )
    text = kmmft.encoders.TextEncoder(
        models.CLIPTextEncoder(60, 8, **sizes),
        None,
        8,
        projection=keras.layers.Dense(4, use_bias=False),
    )
    kmmft.encoders.save_dual_checkpoint(folder, image, text, logit_scale=20.0)
    return image


def test_checkpoint_in_and_out(tmp_path):
    image = clip_checkpoint(tmp_path / "clip")
    model = kmmft.models.DualEncoder.from_checkpoint(tmp_path / "clip")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("f4")
    pooled = image(pixels)["pooled"].numpy()
    expected = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode_image(pixels), expected, atol=1e-5)
    assert float(model.logit_scale) == pytest.approx(20.0, rel=1e-5)
    model.save_checkpoint(tmp_path / "again")
    again = kmmft.models.DualEncoder.from_checkpoint(tmp_path / "again")
    np.testing.assert_array_equal(
        again.encode_image(pixels), model.encode_image(pixels)
    )


def test_model_with_heads_is_no_checkpoint(model, tmp_path):
    with pytest.raises(ValueError, match=r"projections \['image', 'text'\]"):
        model.save_checkpoint(tmp_path / "none")
