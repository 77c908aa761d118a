"""Each fusion against its paper's equation in NumPy, weights taken from the layer."""

import numpy as np
import pytest

from tests.layers import references
from tests.layers.fusion_cases import DIMS, make_built, make_features, shared
from tests.layers.references import attention_block, dense, relu, sigmoid, value

FEATURES = make_features()
IMAGE, TEXT = FEATURES["image"]["pooled"], FEATURES["text"]["pooled"]


def check(layer, expected, features=FEATURES):
    np.testing.assert_allclose(layer(features), expected, atol=1e-5, rtol=1e-5)


def project(layer, name, x):
    return dense(layer.projections[name], x)


def test_concat():
    layer = shared("concat")
    both = np.concatenate(
        [project(layer, "image", IMAGE), project(layer, "text", TEXT)], -1
    )
    check(layer, relu(dense(layer.mix, both)))


def test_absent_modality_is_the_replacement_vector():
    layer = shared("concat")
    replaced = np.array([IMAGE[0], value(layer.replacements["image"]), IMAGE[2]])
    both = [project(layer, "image", replaced), project(layer, "text", TEXT)]
    np.testing.assert_allclose(
        layer(FEATURES, present={"image": np.array([True, False, True])}),
        relu(dense(layer.mix, np.concatenate(both, -1))),
        atol=1e-5,
    )


def test_gated_of_two():
    layer = shared("gated")
    z = sigmoid(dense(layer.gate, np.concatenate([IMAGE, TEXT], -1)))
    image = np.tanh(project(layer, "image", IMAGE))
    check(layer, z * image + (1 - z) * np.tanh(project(layer, "text", TEXT)))


def test_gated_of_three():
    features = make_features(dims={**DIMS, "audio": 3})
    layer = make_built("gated", features)
    names = ["audio", "image", "text"]
    inputs = np.concatenate([features[name]["pooled"] for name in names], -1)
    gates = np.split(sigmoid(dense(layer.gate, inputs)), 3, axis=-1)
    expected = sum(
        gate * np.tanh(project(layer, name, features[name]["pooled"]))
        for gate, name in zip(gates, names, strict=True)
    )
    check(layer, expected, features)


def test_low_rank_bilinear():
    layer = shared("mlb")
    product = np.tanh(project(layer, "image", IMAGE))
    product = product * np.tanh(project(layer, "text", TEXT))
    check(layer, dense(layer.output_projection, product))


def test_factorized_bilinear():
    layer = shared("mfb")
    product = project(layer, "image", IMAGE) * project(layer, "text", TEXT)
    z = product.reshape(3, 8, 3).sum(-1)
    z = np.sign(z) * np.sqrt(np.abs(z))
    check(layer, z / np.linalg.norm(z, axis=-1, keepdims=True))


def test_film():
    layer = shared("film")
    condition = dense(layer.modulation, project(layer, "text", TEXT))
    tokens = project(layer, "image", FEATURES["image"]["tokens"])
    deltas_and_betas = condition.reshape(3, 2, 2, 1, 8)
    for index in range(2):
        delta, beta = deltas_and_betas[:, index, 0], deltas_and_betas[:, index, 1]
        normed = references.normalize(dense(layer.blocks[index], tokens))
        tokens = tokens + relu((1 + delta) * normed + beta)
    check(layer, tokens[:, :3].mean(1))


def projected_tokens(layer, example):
    return {
        name: project(layer, name, FEATURES[name]["tokens"][example]) for name in DIMS
    }


MASK = FEATURES["image"]["mask"][0]


def test_one_way_cross_attention():
    layer = make_built("one_way", num_layers=2)
    expected = []
    for example in range(3):
        x = projected_tokens(layer, example)
        text = x["text"]
        for index in range(2):
            cross = layer.blocks[f"text_cross_{index}"]
            text = attention_block(cross, text, MASK, x["image"])
            text = attention_block(layer.blocks[f"text_self_{index}"], text, MASK)
        expected.append(references.layer_norm(layer.norms["text"], text)[:3].mean(0))
    check(layer, expected)


def test_two_way_cross_attention():
    layer = make_built("two_way", num_layers=2)
    expected = []
    for example in range(3):
        x = projected_tokens(layer, example)
        for index in range(2):
            below = dict(x)
            for name, other in (("image", "text"), ("text", "image")):
                cross = layer.blocks[f"{name}_cross_{index}"]
                crossed = attention_block(cross, below[name], MASK, below[other])
                block = layer.blocks[f"{name}_self_{index}"]
                x[name] = attention_block(block, crossed, MASK)
        means = [
            references.layer_norm(layer.norms[name], x[name])[:3].mean(0)
            for name in ("image", "text")
        ]
        expected.append(dense(layer.mix, np.concatenate(means)))
    check(layer, expected)


def streams(layer, example):
    """`[class token; tokens] + modality embedding` of each modality."""
    x = projected_tokens(layer, example)
    return {
        name: np.concatenate([value(layer.class_tokens)[i : i + 1], x[name]])
        + value(layer.modality_embeddings)[i]
        for i, name in enumerate(("image", "text"))
    }


def test_merged_attention():
    layer = shared("merged")
    expected = []
    for example in range(3):
        x = streams(layer, example)
        mask = np.concatenate([[True], MASK, [True], MASK])
        merged = np.concatenate([x["image"], x["text"]])
        merged = attention_block(layer.blocks["merged_block_0"], merged, mask)
        expected.append(references.layer_norm(layer.norm, merged[[0, 6]]).mean(0))
    check(layer, expected)


def test_absent_modality_is_one_replacement_token():
    layer = shared("merged")
    token = project(layer, "image", value(layer.replacements["image"])[None])
    x = np.concatenate([value(layer.class_tokens)[:1], token])
    x = np.concatenate(
        [x + value(layer.modality_embeddings)[0], streams(layer, 1)["text"]]
    )
    mask = np.concatenate([[True, True, True], MASK])
    x = attention_block(layer.blocks["merged_block_0"], x, mask)
    expected = references.layer_norm(layer.norm, x[[0, 2]]).mean(0)
    outputs = layer(FEATURES, present={"image": np.array([True, False, True])})
    np.testing.assert_allclose(outputs[1], expected, atol=1e-5)


@pytest.mark.parametrize("num_layers", [2, 3])
def test_bottleneck_attention(num_layers):
    layer = make_built("bottleneck", num_layers=num_layers)
    expected = []
    for example in range(3):
        x = streams(layer, example)
        bottleneck = value(layer.bottleneck_tokens)
        mask = np.concatenate([[True] * 3, MASK])
        for index in range(num_layers):
            updates = []
            for name in ("image", "text"):
                joined = np.concatenate([bottleneck, x[name]])
                block = layer.blocks[f"{name}_block_{index}"]
                joined = attention_block(block, joined, mask)
                updates.append(joined[:2])
                x[name] = joined[2:]
            bottleneck = np.mean(updates, axis=0)
        first = np.stack([x["image"][0], x["text"][0]])
        expected.append(references.layer_norm(layer.norm, first).mean(0))
    check(layer, expected)


def test_tensor():
    layer = make_built("tensor", make_features(dims={**DIMS, "audio": 3}))
    features = make_features(dims={**DIMS, "audio": 3})
    with_one = {
        name: np.concatenate(
            [relu(project(layer, name, feature["pooled"])), np.ones((3, 1))], -1
        )
        for name, feature in features.items()
    }
    tensor = np.einsum(
        "bi,bj,bk->bijk", with_one["audio"], with_one["image"], with_one["text"]
    )
    expected = relu(dense(layer.output_projection, tensor.reshape(3, 9**3)))
    check(layer, expected, features)
