"""Narrower feed-forwards: the small model is the big one with units that give zero."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.finetuning import named_variables, prune_hidden_units
from kmmft.finetuning.unit_importance import taylor_importance
from tests.finetuning import step_option_cases
from tests.models import contrastive_cases

RNG = np.random.default_rng(0)
SIZE = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12}
PICTURES = RNG.normal(size=(3, 16, 16, 3)).astype("float32")
IDS = RNG.integers(0, 9, (3, 5)).astype("int32")
TEXTS = {"token_ids": IDS, "padding_mask": IDS > 1, "segment_ids": 0 * IDS}
BACKBONES = {
    "bert": (lambda: keras_hub.models.BertBackbone(9, **SIZE), TEXTS),
    "vit": (
        lambda: keras_hub.models.ViTBackbone((16, 16, 3), 8, 2, 2, 8, 12),
        PICTURES,
    ),
    "clip": (
        lambda: keras_hub.models.CLIPVisionEncoder(
            8, 8, 2, 2, 12, image_shape=(16, 16, 3)
        ),
        {"images": PICTURES},
    ),
    # Its pooling has a feed-forward too.
    "siglip": (
        lambda: keras_hub.models.SigLIPVisionEncoder(
            8, 8, 2, 2, 12, image_shape=(16, 16, 3)
        ),
        PICTURES,
    ),
}


def feed_forward_weights(model):
    """Kernel into, bias and kernel out of each feed-forward, by their sizes."""
    weights = list(named_variables(model).values())
    return [
        (weights[i], weights[i + 1], weights[i + 2])
        for i in range(len(weights) - 2)
        if [tuple(w.shape) for w in weights[i : i + 3]] == [(8, 12), (12,), (12, 8)]
    ]


def randomise(model):
    for weight in model.weights:
        if "float" in weight.dtype:
            weight.assign(RNG.normal(size=weight.shape) / 2)
    return model


def outputs(model, inputs):
    return np.concatenate(
        [np.ravel(x) for x in keras.tree.flatten(model(inputs, training=False))]
    )


@pytest.mark.parametrize("name", BACKBONES)
def test_small_model_is_the_big_one_masked(name):
    make, inputs = BACKBONES[name]
    model = randomise(make())
    before = outputs(model, inputs)
    smaller = prune_hidden_units(model, 0.4)
    np.testing.assert_array_equal(outputs(model, inputs), before)
    found = feed_forward_weights(model)
    assert len(found) == (3 if name == "siglip" else 2)
    for into, bias, out in found:
        norms = np.sqrt(
            (into.numpy() ** 2).sum(0) + bias.numpy() ** 2 + (out.numpy() ** 2).sum(1)
        )
        # round(0.4 * 12) units go.
        gone = np.argsort(norms)[:5]
        out.assign(np.where(np.isin(np.arange(12), gone)[:, None], 0, out.numpy()))
    masked = outputs(model, inputs)
    assert np.abs(masked - before).max() > 1e-2
    np.testing.assert_allclose(outputs(smaller, inputs), masked, atol=1e-5, rtol=1e-5)
    less = len(found) * 5 * (8 + 1 + 8)
    assert smaller.count_params() == model.count_params() - less
    assert type(smaller) is type(model)


@pytest.fixture(scope="module")
def classifier():
    """A classifier of texts by a BERT, compiled, and two batches."""
    keras.utils.set_random_seed(0)
    bert = keras_hub.models.BertBackbone(9, **SIZE | {"num_layers": 1})
    model = kmmft.models.FusionClassifier(
        {"text": kmmft.encoders.TextEncoder(bert, None, sequence_length=5)},
        fusion=None,
        class_names=["no", "yes"],
    )
    randomise(model)
    model.compile("sgd")
    inputs = {"token_ids": IDS, "padding_mask": IDS > 1}
    other = {name: value[::-1].copy() for name, value in inputs.items()}
    return model, [(inputs, np.array([0, 1, 1])), (other, np.array([1, 1, 0]))]


def test_taylor_is_the_squared_derivative_by_a_gate(classifier):
    model, batches = classifier
    ((_, _, out),) = feed_forward_weights(model)
    block = model.encoders["text"].backbone.transformer_layers[0]
    pair = (block._feedforward_intermediate_dense, block._feedforward_output_dense)
    (found,) = taylor_importance(model, [pair], batches)
    start, step = out.numpy(), 1e-2
    expected = np.zeros(12)
    loss = model.default_loss()
    run = tf.function(lambda x: model(x, training=False))
    for x, y in batches:
        for unit in range(12):
            losses = []
            for gate in (1 + step, 1 - step):
                gates = np.ones((12, 1))
                gates[unit] = gate
                out.assign(start * gates)
                losses.append(float(loss(y, run(x))))
            expected[unit] += (np.diff(losses)[0] / (2 * step)) ** 2 / len(batches)
    out.assign(start)
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=1e-4 * expected.max())
    assert np.ptp(np.log(found)) > 1  # units differ


def test_smaller_classifier_trains_and_is_saved(classifier, tmp_path):
    model, batches = classifier
    smaller = prune_hidden_units(model, 0.5, "text_encoder/*", batches, batches=1)
    assert smaller.encoders["text"].backbone.intermediate_dim == 6
    (x, y), _ = batches
    first = outputs(smaller, x)
    assert np.abs(first - outputs(model, x)).max() > 1e-3
    smaller.compile(kmmft.training.AdamW(0.01))
    losses = smaller.fit(x, y, batch_size=3, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    smaller.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(outputs(loaded, x), outputs(smaller, x), atol=1e-6)


def test_taylor_of_a_dual_encoder():
    vit = keras_hub.models.ViTBackbone((8, 8, 3), 4, 2, 2, 8, 12)
    model = kmmft.models.DualEncoder(
        {
            "image": kmmft.encoders.ImageEncoder(vit),
            "text": contrastive_cases.text_encoder(),
        },
        projection_dim=5,
    )
    model.compile("sgd", kmmft.losses.InfoNCE())
    batch = (contrastive_cases.batch(), contrastive_cases.GROUPS)
    smaller = prune_hidden_units(model, 0.5, dataset=[batch])
    assert smaller.encoders["image"].backbone.mlp_dim == 6
    vectors = smaller(batch[0])
    assert np.isfinite(outputs(smaller, batch[0])).all() and set(vectors) == {
        "image",
        "text",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 0.0}, r"`sparsity` must be in \(0, 1\).*0.0"),
        ({"sparsity": 1.0}, r"`sparsity` must be in \(0, 1\)"),
        ({"sparsity": 0.5, "targets": "txt*"}, "'txt.*', which matches none of"),
        ({"sparsity": 0.5, "dataset": []}, "needs examples.*no batch"),
    ],
)
def test_bad_arguments(classifier, arguments, message):
    with pytest.raises(ValueError, match=message):
        prune_hidden_units(classifier[0], **arguments)


def test_bad_models():
    with pytest.raises(ValueError, match="intermediate_dim or mlp_dim"):
        prune_hidden_units(step_option_cases.linear(), 0.5)
    model = BACKBONES["bert"][0]()
    with pytest.raises(ValueError, match="not compiled"):
        prune_hidden_units(model, 0.5, dataset=[(TEXTS, IDS)])
    fnet = keras_hub.models.FNetBackbone(9, 2, 8, 12)
    with pytest.raises(ValueError, match=r"FNetBackbone.*12 units"):
        prune_hidden_units(fnet, 0.5)
