"""Adapters of transformer blocks, against NumPy and against plain blocks."""

import keras
import keras_hub
import numpy as np
import pytest

import kmmft
from kmmft.finetuning import (
    IA3,
    BitFit,
    Bottleneck,
    DoRA,
    LoRA,
    Plan,
    PrefixTokens,
    Rule,
    named_layers,
)
from kmmft.finetuning.adapters.adapted_layer import adapt
from kmmft.finetuning.adapters.ia3 import ScaledInputs, ScaledOutputs
from kmmft.finetuning.adapters.transformer_parts import attentions, feed_forwards

RNG = np.random.default_rng(0)


def random(*shape):
    return RNG.normal(size=shape).astype("float32")


def randomise(weights):
    for weight in weights:
        weight.assign(random(*weight.shape))


def vit(layers=1):
    return keras_hub.models.ViTBackbone((16, 16, 3), 8, layers, 2, 8, 16)


def bert():
    return keras_hub.models.BertBackbone(9, 1, 2, 8, 16, dropout=0.0)


def clip_text():
    return keras_hub.models.CLIPTextEncoder(9, 8, 8, 1, 2, 16)


def siglip_image():
    return keras_hub.models.SigLIPVisionEncoder(8, 8, 1, 2, 16, image_shape=(16, 16, 3))


BACKBONES = {
    "vit": vit,
    "bert": bert,
    "roberta": lambda: keras_hub.models.RobertaBackbone(9, 1, 2, 8, 16),
    "clip_text": clip_text,
    "siglip_image": siglip_image,
}
# What IA3 scales: blocks, and in each its keys, values and second dense layer.
BERT_BLOCK = (
    ["transformer_layer_0"],
    ["self_attention_layer/", "feedforward_output_dense"],
)
IA3_PARTS = {
    "vit": (["vit_encoder/transformer_block_1"], ["mha/", "mlp/dense_2"]),
    "bert": BERT_BLOCK,
    "roberta": BERT_BLOCK,
    "clip_text": (["encoder_block_0"], ["attention/", "dense_2"]),
    "siglip_image": (["encoder_block_0", "head"], ["attention/", "mlp/fc2"]),
}


def batch(model):
    if isinstance(model.input, dict):
        ids = RNG.integers(0, 9, (2, 6))
        inputs = {"token_ids": ids, "segment_ids": ids * 0}
        inputs["images"] = random(2, 16, 16, 3)
        inputs["padding_mask"] = np.array([[1] * 6, [1, 1, 1, 0, 0, 0]], bool)
        return {name: inputs[name] for name in model.input}
    return random(2, *model.input.shape[1:])


def outputs(model, x):
    return np.concatenate([np.ravel(v) for v in keras.tree.flatten(model(x))])


ADAPTERS = [
    LoRA(rank=2),
    DoRA(rank=2, targets="*/query"),
    IA3(),
    Bottleneck(dim=2),
    Bottleneck(dim=2, mode="parallel"),
    BitFit(),
]


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_start_unchanged_and_then_change(name):
    for adapter in ADAPTERS:
        model = BACKBONES[name]()
        # KerasHub's own starts are so small that attention hardly matters.
        randomise(v for v in model.weights if v.dtype == "float32")
        x = batch(model)
        before = outputs(model, x)
        weights = adapter.insert(model, named_layers(model))
        np.testing.assert_allclose(outputs(model, x), before, atol=1e-4)
        randomise(weights)
        assert np.abs(outputs(model, x) - before).max() > 1e-2, adapter


@pytest.mark.parametrize("name", IA3_PARTS)
def test_parts_are_found_by_structure(name):
    model = BACKBONES[name]()
    layers = named_layers(model)
    IA3().insert(model, layers)
    adapted = {path for path, layer in layers.items() if hasattr(layer, "adapter")}
    adapted = {path.replace("self_attn", "attention") for path in adapted}
    blocks, (attention, second) = IA3_PARTS[name]
    parts = (f"{attention}key", f"{attention}value", second)
    assert adapted == {f"{block}/{part}" for block in blocks for part in parts}


def test_ia3_trains_as_by_hand():
    x, y = random(6, 5), random(6, 3)
    inputs = keras.Input((5,))
    key = keras.layers.Dense(4, name="key", bias_initializer="normal")
    second = keras.layers.Dense(3, name="second", bias_initializer="normal")
    model = keras.Model(inputs, second(key(inputs)))
    (w, b, v, c) = (weight.numpy() for weight in model.weights)
    (out,) = adapt(key, ScaledOutputs, IA3())
    (into,) = adapt(second, ScaledInputs, IA3())
    for weight in model.weights:
        weight.trainable = weight.name == "ia3"
    model.compile(kmmft.training.SGD(0.1), "mse")
    model.fit(x, y, batch_size=6, epochs=4, verbose=0)
    p, q = np.ones(4), np.ones(4)
    for _ in range(4):
        h = (x @ w + b) * p
        g = 2 * ((h * q) @ v + c - y) / y.size @ v.T
        p, q = p - 0.1 * ((x @ w + b) * g * q).sum(0), q - 0.1 * (h * g).sum(0)
    np.testing.assert_allclose(out, p, atol=1e-6)
    np.testing.assert_allclose(into, q, atol=1e-6)
    np.testing.assert_allclose(model(x), ((x @ w + b) * p * q) @ v + c, atol=1e-5)


def test_ia3_equals_a_block_with_scaled_kernels():
    model, plain = vit(), vit()
    plain.set_weights(model.get_weights())
    x = batch(model)
    weights = IA3().insert(model, named_layers(model))
    randomise(weights)
    key, value, hidden = (weight.numpy() for weight in weights)
    (block,) = plain.get_layer(index=-1).encoder_layers
    for dense, factors in ((block.mha.key_dense, key), (block.mha.value_dense, value)):
        factors = factors.reshape(2, 4)
        dense.kernel.assign(dense.kernel * factors)
        dense.bias.assign(dense.bias * factors)
    kernel = block.mlp.dense_2.kernel
    kernel.assign(kernel * hidden[:, None])
    np.testing.assert_allclose(model(x), plain(x), atol=1e-5)


def network(weights, h):
    """A bottleneck with ReLU in NumPy."""
    down, d, up, u = (weight.numpy() for weight in weights)
    return np.maximum(h @ down + d, 0) @ up + u


@pytest.mark.parametrize("mode", ["houlsby", "parallel"])
def test_bottleneck_equals_a_block_by_hand(mode):
    model = vit()
    (block,) = model.get_layer(index=-1).encoder_layers
    x = random(2, 5, 8)
    adapter = Bottleneck(dim=3, mode=mode, activation="relu", scale=0.5)
    plain = vit()
    plain.set_weights(model.get_weights())
    (before,) = plain.get_layer(index=-1).encoder_layers
    weights = adapter.insert(model, named_layers(model))
    randomise(weights)
    normed = before.layer_norm_1(x).numpy()
    attended = before.mha(normed, normed).numpy()
    h = normed if mode == "parallel" else attended
    x1 = x + attended + 0.5 * network(weights[:4], h)
    normed = before.layer_norm_2(x1).numpy()
    fed = before.mlp(normed).numpy()
    h = normed if mode == "parallel" else fed
    expected = x1 + fed + 0.5 * network(weights[4:], h)
    np.testing.assert_allclose(block(x), expected, atol=1e-5)


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("masked", [True, False])
def test_prefix_equals_attention_by_hand(dropout, masked):
    """With dropout Keras takes another way through its attention."""
    layer = keras.layers.MultiHeadAttention(2, 4, dropout=dropout)
    query, value = keras.Input((3, 8)), keras.Input((5, 8))
    model = keras.Model([query, value], layer(query, value))
    weights = PrefixTokens(count=2).insert(model, named_layers(model))
    randomise(layer.weights)
    q, v = random(2, 3, 8), random(2, 5, 8)
    mask = RNG.random((2, 3, 5)) < 0.4 if masked else np.ones((2, 3, 5), bool)
    mask[0, 0] = not masked  # a query that may look at the prefix only

    def project(x, dense):
        return np.einsum("btd,dhe->bthe", x, dense.kernel) + dense.bias

    keys, values = project(v, layer.key_dense), project(v, layer.value_dense)
    prefix_keys, prefix_values = (np.stack([w.numpy()] * 2) for w in weights)
    keys = np.concatenate([prefix_keys, keys], 1)
    values = np.concatenate([prefix_values, values], 1)
    scores = np.einsum("bthe,bshe->bhts", project(q, layer.query_dense), keys) / 2
    seen = np.concatenate([np.ones((2, 3, 2), bool), mask], -1)[:, None]
    shares = softmax(np.where(seen, scores, -1e9))
    attended = np.einsum("bhts,bshe->bthe", shares, values)
    out = layer.output_dense
    expected = np.einsum("bthe,hed->btd", attended, out.kernel) + out.bias
    given = layer(q, v, attention_mask=mask if masked else None)
    np.testing.assert_allclose(given, expected, atol=1e-4)


def test_prefix_under_a_causal_mask():
    layer = keras.layers.MultiHeadAttention(2, 4)
    inputs = keras.Input((4, 8))
    model = keras.Model(inputs, layer(inputs, inputs, use_causal_mask=True))
    randomise(PrefixTokens(count=2).insert(model, named_layers(model)))
    x = random(1, 4, 8)
    y = x.copy()
    y[:, 3] += 1.0
    before, after = model(x).numpy(), model(y).numpy()
    np.testing.assert_allclose(after[:, :3], before[:, :3], atol=1e-6)
    mask = np.tril(np.ones((1, 4, 4), bool))
    np.testing.assert_allclose(layer(x, x, attention_mask=mask), before, atol=1e-6)


def test_the_hook_of_prefixes_is_still_there():
    """Private; without it prefixes would silently do nothing."""
    assert hasattr(keras.layers.MultiHeadAttention, "_compute_attention")


def test_bitfit_trains_biases_only():
    model = vit()
    biases = BitFit().insert(model, named_layers(model))
    assert {weight.name for weight in biases} == {"bias", "beta"}
    # patch embedding, 4 of attention, 2 of the feed-forward, 3 norms
    assert len(biases) == 10
    layer = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, use_bias=False)])
    with pytest.raises(ValueError, match="BitFit needs layers with biases"):
        BitFit().insert(layer, named_layers(layer))


def test_targets_choose_parts_of_blocks():
    model = vit(layers=2)
    weights = Bottleneck(dim=2, targets="*_2/mha").insert(model, named_layers(model))
    assert len(weights) == 4
    layers = named_layers(model)
    adapted = [path for path, layer in layers.items() if hasattr(layer, "adapter")]
    assert [path.split("/")[-2:] for path in adapted] == [
        ["transformer_block_2", "mha"]
    ]
    with pytest.raises(ValueError, match=r"`targets` must match .*'mhq'"):
        PrefixTokens(targets="mhq").insert(model, layers)


def test_only_whole_parts_of_a_rule_are_adapted():
    model = vit(layers=2)
    layers = named_layers(model)
    first = {p: v for p, v in layers.items() if "transformer_block_1" in p}
    assert len(attentions(layers, first)) == 1
    assert len(feed_forwards(layers, first, "*")) == 1
    key = {p: v for p, v in layers.items() if p.endswith("key")}
    assert not attentions(layers, key)


class ThreeDenses(keras.layers.Layer):
    """A block with a gated feed-forward."""

    def build(self, shape):
        self.attention = keras.layers.MultiHeadAttention(2, 4, name="attention")
        self.attention.build(shape, shape)
        self.denses = [
            keras.layers.Dense(units, name=name)
            for units, name in ((16, "gate"), (16, "up"), (8, "down"))
        ]
        for dense, width in zip(self.denses, (8, 8, 16), strict=True):
            dense.build((None, None, width))

    def call(self, x):
        gate, up, down = self.denses
        return down(gate(x) * up(x)) + self.attention(x, x)


def test_an_unknown_feed_forward_is_an_error_unless_left_out():
    inputs = keras.Input((3, 8))
    model = keras.Model(inputs, ThreeDenses(name="block")(inputs))
    with pytest.raises(ValueError, match=r"'block/gate', 'block/up', 'block/down'"):
        Bottleneck(dim=2).insert(model, named_layers(model))
    adapter = Bottleneck(dim=2, targets="*attention")
    assert len(adapter.insert(model, named_layers(model))) == 4


def test_models_without_transformer_blocks_are_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    for adapter in (IA3(), Bottleneck(), PrefixTokens()):
        with pytest.raises(ValueError, match="The rule has none of them"):
            adapter.insert(model, named_layers(model))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bottleneck(dim=0),
        lambda: Bottleneck(scale=0),
        lambda: Bottleneck(mode="serial"),
        lambda: Bottleneck(activation="gelo"),
        lambda: PrefixTokens(count=0),
    ],
)
def test_bad_arguments_are_refused(make):
    with pytest.raises(ValueError, match=r"Received|Could not interpret"):
        make()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_blocks_adapt_in_mixed_precision(policy):
    for adapter in (IA3(), Bottleneck(dim=2, mode="parallel"), PrefixTokens(2)):
        keras.config.set_dtype_policy(policy)
        model = vit()
        keras.config.set_dtype_policy("float32")
        plain = vit()
        plain.set_weights(model.get_weights())
        x = batch(model)
        keras.utils.set_random_seed(1)
        weights = adapter.insert(model, named_layers(model))
        others = adapter.insert(plain, named_layers(plain))
        for weight, other in zip(weights, others, strict=True):
            assert weight.dtype == "float32"
            value = 0.3 * random(*weight.shape)
            weight.assign(value)
            other.assign(value)
        given = model(x)
        assert given.dtype == policy.removeprefix("mixed_")
        np.testing.assert_allclose(
            np.asarray(given, "float32"), plain(x), atol=0.1 if "b" in policy else 0.01
        )


def test_efficientnet_trains_low_rank_changes():
    backbone = kmmft.encoders.EfficientNetLite0Backbone((32, 32, 3))
    model = kmmft.models.FusionClassifier(
        {"image": kmmft.encoders.ImageEncoder(backbone)}, None, ["no", "yes"]
    )
    adapter = LoRA(rank=2, targets=("*block1a*", "*block2a*"))
    Plan([Rule("image_encoder/*", adapter=adapter), Rule("*")]).apply(model)
    model.compile(kmmft.training.SGD(0.1))
    before = {id(v): v.numpy() for v in backbone.variables}
    images = {"image": 255 * RNG.random((2, 32, 32, 3))}
    model.fit(images, np.array([0, 1]), verbose=0)
    moved = {v.name for v in backbone.variables if np.any(v.numpy() != before[id(v)])}
    assert moved == {"lora_b"}
