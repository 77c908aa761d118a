"""Fewer layers: the small model is the big one whose other layers do nothing."""

import keras
import keras_hub
import numpy as np
import pytest

import kmmft
from kmmft.finetuning import cut_image_encoder, keep_layers, named_variables

RNG = np.random.default_rng(0)
PICTURES = RNG.uniform(0, 255, size=(3, 16, 16, 3)).astype("float32")
IDS = RNG.integers(0, 9, (3, 5)).astype("int32")


def randomise(model):
    for weight in model.weights:
        if "float" in weight.dtype:
            weight.assign(RNG.normal(size=weight.shape) / 2)
    return model


def vision_tower(kind):
    if kind == "vit":
        return keras_hub.models.ViTBackbone((16, 16, 3), 8, 4, 2, 8, 12)
    return keras_hub.models.CLIPVisionEncoder(8, 8, 4, 2, 12, image_shape=(16, 16, 3))


@pytest.mark.parametrize("kind", ["vit", "clip"])
def test_other_layers_do_nothing(kind):
    model = randomise(vision_tower(kind))
    inputs = PICTURES if kind == "vit" else {"images": PICTURES}
    smaller = keep_layers(model, [0, 3])
    before = flat(model(inputs, training=False))
    # The ends of the residual branches of a block: of attention and of feed-forward.
    ends = [
        weight
        for path, weight in named_variables(model).items()
        if path.split("/")[-2] in ("attention_output", "dense_2")
    ]
    assert len(ends) == 4 * 4
    for weight in ends[4:12]:
        weight.assign(0 * weight.numpy())
    masked = flat(model(inputs, training=False))
    assert np.abs(masked - before).max() > 1e-2
    np.testing.assert_allclose(
        flat(smaller(inputs, training=False)), masked, atol=1e-5, rtol=1e-5
    )


def flat(outputs):
    return np.concatenate([np.ravel(x) for x in keras.tree.flatten(outputs)])


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(0)
    bert = keras_hub.models.BertBackbone(9, 3, 2, 8, 12)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat", "dog"]
    tokenizer = keras_hub.tokenizers.BertTokenizer(words, lowercase=True)
    model = kmmft.models.FusionClassifier(
        {
            "image": kmmft.encoders.ImageEncoder(vision_tower("vit")),
            "text": kmmft.encoders.TextEncoder(bert, tokenizer, sequence_length=5),
        },
        kmmft.layers.ConcatFusion(hidden_dim=6),
        class_names=["no", "yes"],
    )
    return randomise(model)


def test_a_tower_has_every_other_layer_and_all_else(classifier, tmp_path):
    smaller = keep_layers(classifier, range(0, 3, 2), "text_encoder/*")
    old, new = (m.encoders["text"].backbone for m in (classifier, smaller))
    assert new.num_layers == 2
    for one, other in [(0, 0), (2, 1)]:
        values = old.transformer_layers[one].get_weights()
        for value, same in zip(
            values, new.transformer_layers[other].get_weights(), strict=True
        ):
            np.testing.assert_array_equal(same, value)
    values, found = (m.encoders["image"].get_weights() for m in (classifier, smaller))
    for value, same in zip(values, found, strict=True):
        np.testing.assert_array_equal(same, value)
    np.testing.assert_array_equal(
        smaller.get_layer("logits").kernel, classifier.get_layer("logits").kernel
    )
    texts = ["A red dog", "cat"]
    ids = [m.encoders["text"].preprocess(texts) for m in (classifier, smaller)]
    np.testing.assert_array_equal(ids[1]["token_ids"], ids[0]["token_ids"])
    smaller.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    inputs = {"image": PICTURES, "token_ids": IDS, "padding_mask": IDS > 1}
    np.testing.assert_allclose(loaded(inputs), smaller(inputs), atol=1e-6)


def test_cut_image_encoder_gives_the_feature_map_within(tmp_path):
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, name="first")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Conv2D(6, 3, strides=2, name="second")(x)
    encoder = randomise(
        kmmft.encoders.ImageEncoder(keras.Model(image, x), mean=10.0, std=20.0)
    )
    encoder.trainable = False
    variance = encoder.backbone.get_layer("norm").moving_variance
    variance.assign(np.ones(4))
    smaller = cut_image_encoder(encoder, "norm")
    within = keras.Model(
        encoder.backbone.input, encoder.backbone.get_layer("norm").output
    )
    expected = np.mean(within((PICTURES - 10) / 20), axis=(1, 2))
    found = smaller(PICTURES)
    np.testing.assert_allclose(found["pooled"], expected, rtol=1e-5, atol=1e-5)
    assert smaller.output_dim == 4 and not smaller.trainable
    # Copies: the teacher does not learn with its student.
    own = {id(weight) for weight in encoder.weights}
    assert not own & {id(weight) for weight in smaller.weights}
    smaller.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(loaded(PICTURES)["pooled"], found["pooled"], atol=1e-6)
    with pytest.raises(ValueError, match=r"'frist'.*'first'"):
        cut_image_encoder(encoder, "frist")


@pytest.mark.parametrize(
    ("keep", "targets", "message"),
    [
        ([], "*", r"rising order. Received: \[\]"),
        ([2, 0], "text_encoder/*", r"\[2, 0\].*layers are 0 to 2"),
        ([0, 3], "text_encoder/*", "layers are 0 to 2"),
        ([0, 0], "*", "rising order"),
        ([0], "audio*", "matches none of.*bert"),
    ],
)
def test_bad_arguments(classifier, keep, targets, message):
    with pytest.raises(ValueError, match=message):
        keep_layers(classifier, keep, targets)


def test_shared_layers_are_refused():
    albert = keras_hub.models.AlbertBackbone(9, 3, 2, 4, 8, 12)
    with pytest.raises(ValueError, match="albert"):
        keep_layers(albert, [0, 2])
