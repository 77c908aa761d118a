"""Explanations point at what decides, add up and beat chance; linear ones are exact."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from kmmft.encoders import ClipTokenizer, ImageEncoder, TextEncoder
from kmmft.evaluation import (
    deletion_insertion,
    explain,
    explanation_section,
    heat_overlay,
)
from kmmft.evaluation.explain_attribution import integrated_gradients, occlusion
from kmmft.evaluation.explain_rollout import attention_rollout
from kmmft.evaluation.explain_words import words_of
from kmmft.layers import ConcatFusion
from kmmft.models import DualEncoder, FusionClassifier
from tests.encoders.reference_tokenizers import byte_pairs, golden_clip

WORDS = ["the", "dish", "is", "very", "tast", "##y", "bad", "today"]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
# The third of each is nothing at all: to tell all three, both signs must be seen.
COLORS = {"red": [230, 40, 40], "blue": [40, 40, 230], "no": None}
VERDICTS = {"tasty": ["tasty"], "bad": ["bad"], "no": []}
CLASSES = [f"{color}, {verdict}" for color in COLORS for verdict in VERDICTS]
SIDE, SQUARE = 32, 8


def examples(count, seed, kinds=3):
    """Noise with a square somewhere or none, and a verdict among words or none."""
    random = np.random.default_rng(seed)
    images = random.uniform(90, 160, (count, SIDE, SIDE, 3)).astype("float32")
    corners = random.integers(0, SIDE - SQUARE, (count, 2))
    colors, verdicts = random.integers(0, kinds, (2, count))
    texts = []
    for image, (y, x), c, v in zip(images, corners, colors, verdicts, strict=True):
        if (color := list(COLORS.values())[c]) is not None:
            image[y : y + SQUARE, x : x + SQUARE] = color
        words = random.choice(["the", "dish", "is", "very", "today"], 4).tolist()
        at = random.integers(0, 5)
        texts.append(" ".join([*words[:at], *list(VERDICTS.values())[v], *words[at:]]))
    return images, texts, 3 * colors + verdicts, corners


def text_encoder():
    return TextEncoder(
        keras_hub.models.BertBackbone(len(PIECES), 1, 2, 8, 16, dropout=0.0),
        keras_hub.models.BertTokenizer(PIECES, lowercase=True),
        sequence_length=10,
        pooling="mean",
    )


def cnn():
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(8, 3, 2, "same", activation="gelu")(image)
    x = keras.layers.Conv2D(8, 3, 2, "same", activation="relu")(x)
    return keras.Model(image, x, name="cnn")


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    image = ImageEncoder(cnn(), pooling="mean", mean=127.5, std=127.5)
    model = FusionClassifier(
        {"image": image, "text": text_encoder()}, ConcatFusion(8), CLASSES
    )
    images, texts, labels, _ = examples(768, seed=0)
    inputs = model.preprocess(
        {"image": tf.constant(images), "text": tf.constant(texts)}
    )
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(inputs, labels, batch_size=32, epochs=16, verbose=0)
    assert model.evaluate(inputs, labels, verbose=0)[1] > 0.97
    return model


@pytest.fixture(scope="module")
def transformer():
    vit = keras_hub.models.ViTBackbone((SIDE, SIDE, 3), 8, 2, 2, 8, 16)
    encoders = {"image": ImageEncoder(vit), "text": text_encoder()}
    return DualEncoder(encoders, projection_dim=4)


def centred(logits, index):
    return float(logits[0][index] - np.mean(logits[0]))


def share_inside(heat, corner):
    y, x = corner
    heat = np.maximum(heat, 0)
    return heat[y : y + SQUARE, x : x + SQUARE].sum() / heat.sum()


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion", "grad_cam"])
def test_the_square_decides_the_color(trained, method):
    images, texts, labels, corners = examples(3, seed=1, kinds=2)
    shares, areas = [], []
    for image, text, label, corner in zip(images, texts, labels, corners, strict=True):
        example = {"image": image, "text": text}
        found = explain(trained, example, method)
        assert found.target == CLASSES[label]
        assert bool(found.words) == (method != "grad_cam")
        shares.append(share_inside(found.heat["image"], corner))
        areas.append(deletion_insertion(trained, example, found, random_orders=4))
    # The square takes up 6 % of the picture. Two methods see it in blocks that
    # overlap its edge.
    assert np.mean(shares) > (0.6 if method == "integrated_gradients" else 0.35)
    mean = {key: np.mean([area[key] for area in areas]) for key in areas[0]}
    assert mean["deletion"] < mean["random_deletion"] - 3
    assert mean["insertion"] > mean["random_insertion"] + 3


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_the_verdict_decides_the_verdict(trained, method):
    images, texts, labels, _ = examples(2, seed=1, kinds=2)
    for image, text, label in zip(images, texts, labels, strict=True):
        color, verdict = CLASSES[label].split(", ")
        found = explain(
            trained, {"image": image, "text": text}, method, against=f"{color}, no"
        )
        assert found.target == f"{CLASSES[label]} rather than {color}, no"
        words = found.words["text"]
        assert " ".join(word for word, _ in words) == text
        assert max(words, key=lambda pair: pair[1])[0] == verdict


def test_all_weights_add_up_to_the_difference(trained):
    (image, *_), (text, *_), *_ = examples(1, seed=2)
    found = explain(trained, {"image": image, "text": text}, target=1)
    inputs = trained.preprocess(
        {"image": tf.constant(image[None]), "text": tf.constant([text])}
    )
    assert found.target == CLASSES[1]
    assert found.score == pytest.approx(centred(trained(inputs), 1), abs=1e-4)
    # The baseline by hand: mean colour, and the mean embedding for each word.
    ids = inputs["token_ids"].numpy()
    words = (ids > 3) & inputs["padding_mask"].numpy()
    layer = trained.encoders["text"].backbone.token_embedding
    table = layer.embeddings.numpy()
    first = ids[words][0]  # whose row becomes the mean
    inputs["token_ids"] = tf.constant(np.where(words, first, ids))
    inputs["image"] = tf.constant(np.full_like(image, 127.5)[None])
    layer.embeddings.assign(np.where(np.arange(len(table))[:, None] == first,
                                     table.mean(axis=0), table))  # fmt: skip
    difference = found.score - centred(trained(inputs), 1)
    layer.embeddings.assign(table)
    assert found.error <= 1e-3 * max(1, abs(difference))
    total = found.heat["image"].sum() + sum(w for _, w in found.words["text"])
    assert total == pytest.approx(difference, abs=2e-3 * max(1, abs(difference)))


def test_linear_models_by_hand():
    weights = np.array([[2.0, -1.0], [0.5, 4.0]], "float32")
    x = {"x": np.array([[1.0, 3.0], [2.0, -2.0]], "float32")}
    start = {"x": np.array([[0.0, 1.0], [2.0, 0.0]], "float32")}

    def score(inputs):
        return tf.reduce_sum(inputs["x"] * weights, axis=(1, 2))

    expected = weights * (x["x"] - start["x"])
    parts, error = integrated_gradients(score, x, start)
    np.testing.assert_allclose(parts["x"], expected, atol=1e-6)
    assert error < 1e-5
    rows = [np.array([[True], [False]]), np.array([[False], [True]])]
    falls = occlusion(score, x, start, {"x": rows})
    np.testing.assert_allclose(falls["x"], expected.sum(axis=1), atol=1e-6)

    # x^2 y: by hand, the integral of 2 t x * t y, times x, is two thirds of it.
    def cubic(inputs):
        return inputs["x"][:, 0] ** 2 * inputs["x"][:, 1]

    point = {"x": np.array([2.0, 3.0], "float32")}
    parts, _ = integrated_gradients(cubic, point, {"x": np.zeros(2, "float32")})
    np.testing.assert_allclose(parts["x"], [8.0, 4.0], rtol=1e-5)


def test_rollout_against_numpy(transformer):
    random = np.random.default_rng(0)
    layers = random.dirichlet(np.ones(5), (3, 2, 5))
    mixed = [0.5 * layer.mean(axis=0) + 0.5 * np.eye(5) for layer in layers]
    expected = mixed[2] @ mixed[1] @ mixed[0]
    np.testing.assert_allclose(attention_rollout(layers), expected)

    image = random.uniform(0, 255, (SIDE, SIDE, 3)).astype("float32")
    example = {"image": image, "text": "the dish is tasty"}
    found = explain(transformer, example, "attention_rollout")
    vit = transformer.encoders["image"].backbone
    x = (image[None] - 127.5) / 127.5
    x = vit.get_layer("vit_patching_and_embedding")(x)
    shares = np.eye(17)
    for block in vit.get_layer("vit_encoder").encoder_layers:
        normed = block.layer_norm_1(x)
        _, scores = block.mha(normed, normed, return_attention_scores=True)
        mean = scores.numpy()[0].mean(axis=0)
        shares = (0.5 * mean + 0.5 * np.eye(17)) @ shares
        x = block(x)
    by_patch = found.heat["image"][::8, ::8].ravel()
    np.testing.assert_allclose(by_patch, shares[0, 1:], atol=1e-5)
    assert [word for word, _ in found.words["text"]] == example["text"].split(" ")
    assert found.error is None


def test_a_similarity_and_its_completeness(transformer):
    image = np.random.default_rng(1).uniform(0, 255, (SIDE, SIDE, 3)).astype("float32")
    png = tf.io.encode_png(tf.cast(image, tf.uint8)).numpy()
    example = {"image": png, "text": "bad dish"}
    found = explain(transformer, example)
    vectors = transformer.encode_image([png]), transformer.encode_text(["bad dish"])
    cosine = transformer.similarity(*vectors)[0, 0]
    assert found.score == pytest.approx(cosine, abs=1e-5)
    assert found.target == "image and text"
    assert found.error < 1e-3
    # Nothing stays behind in the model.
    assert all("call" not in vars(layer) for layer in transformer._flatten_layers())


def test_words_of_each_kind_of_tokenizer():
    text = "naïve cats, don't"
    bytes_ = keras_hub.tokenizers.RobertaTokenizer(*byte_pairs())
    clip = ClipTokenizer(*golden_clip())
    for tokenizer, ids in (
        (bytes_, np.array(bytes_(text))),
        (clip, np.array(clip([text])[0])),
    ):
        words = words_of(tokenizer, ids)
        assert "".join(word for word, _ in words) == text.replace(" ", "")
        assert words[0][0] == "naïve"
        assert [place for _, places in words for place in places] == [*range(len(ids))]


def test_pictures_for_the_report(trained):
    image = np.full((4, 4, 3), 200.0)
    heat = np.zeros((4, 4))
    heat[0, 0], heat[1, 1] = 2.0, -1.0
    over = heat_overlay(image, heat)
    assert over[0, 0, 0] > over[0, 0, 2]  # red
    assert over[1, 1, 2] > over[1, 1, 0]  # blue
    np.testing.assert_array_equal(over[3, 3], 200)
    (image, *_), *_ = examples(1, seed=3)
    found = explain(trained, {"image": image, "text": "tasty <b>"}, "occlusion")
    section = explanation_section([found])
    assert section.count("data:image/png;base64,") == 2
    assert "<b>" not in section
    assert ">tasty</span>" in section


def test_what_cannot_be_explained(trained, transformer):
    (image, *_), (text, *_), *_ = examples(1, seed=4)
    example = {"image": image, "text": text}
    with pytest.raises(ValueError, match=r"`method` must be one of.*'lime'"):
        explain(trained, example, "lime")
    with pytest.raises(ValueError, match=r"one of the classes.*'green'"):
        explain(trained, example, target="green")
    with pytest.raises(ValueError, match=r"`against` must be one of.*99"):
        explain(trained, example, against=99)
    with pytest.raises(ValueError, match=r"of which one is right.*'no'"):
        explain(transformer, example, against="no")
    with pytest.raises(ValueError, match=r"two of the modalities.*'audio'"):
        explain(transformer, example, target=("image", "audio"))
    with pytest.raises(ValueError, match=r"can read \['image', 'text'\].*'grad_cam'"):
        explain(transformer, example, "grad_cam")
    with pytest.raises(ValueError, match="FusionClassifier or a DualEncoder"):
        explain(cnn(), example)
    with pytest.raises(ValueError, match="Received: none"):
        explanation_section([])
