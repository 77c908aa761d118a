"""LoRA and DoRA against their formulas in NumPy."""

import keras
import numpy as np
import pytest

import kmmft
from kmmft.finetuning import DoRA, LoRA, Plan, Rule, named_layers

RNG = np.random.default_rng(0)


def random(*shape):
    return RNG.normal(size=shape).astype("float32")


X, Y = random(6, 5), random(6, 3)


class Model(kmmft.training.DistributedTraining, keras.Model):
    pass


def dense_model():
    inputs = keras.Input((5,))
    outputs = keras.layers.Dense(3, name="dense", bias_initializer="normal")(inputs)
    return Model(inputs, outputs)


def fit(model, adapter, steps=4, rate=0.1):
    Plan([Rule("*", adapter=adapter)]).apply(model)
    model.compile(kmmft.training.SGD(rate), "mse")
    model.fit(X, Y, batch_size=len(X), epochs=steps, verbose=0)


def output_gradient(y):
    return 2 * (y - Y) / Y.size


def insert(layer_or_model, adapter):
    layers = named_layers(layer_or_model)
    return adapter.insert(layer_or_model, layers)


def randomise(weights):
    for weight in weights:
        weight.assign(random(*weight.shape))


def test_lora_trains_as_by_hand():
    model = dense_model()
    w, b = (v.numpy() for v in model.weights)
    Plan([Rule("*", adapter=LoRA(rank=2, alpha=3))]).apply(model)
    dense = model.get_layer("dense")
    a, up = dense.lora_a.numpy(), dense.lora_b.numpy()
    assert np.abs(a).max() <= 5**-0.5 and np.abs(a).max() > 0.2
    assert not up.any()
    model.compile(kmmft.training.SGD(0.1), "mse")
    model.fit(X, Y, batch_size=6, epochs=4, shuffle=False, verbose=0)
    for _ in range(4):
        g = output_gradient(X @ w + b + 1.5 * X @ a @ up)
        a, up = a - 0.15 * X.T @ g @ up.T, up - 0.15 * (X @ a).T @ g
    np.testing.assert_allclose(dense.lora_a, a, atol=1e-6)
    np.testing.assert_allclose(dense.lora_b, up, atol=1e-6)
    np.testing.assert_allclose(model(X), X @ w + b + 1.5 * X @ a @ up, atol=1e-5)
    np.testing.assert_array_equal(dense.kernel, w)
    np.testing.assert_array_equal(dense.bias, b)


@pytest.mark.parametrize("detach_norm", [True, False])
def test_dora_trains_as_by_hand(detach_norm):
    model = dense_model()
    w, b = (v.numpy() for v in model.weights)
    adapter = DoRA(rank=2, alpha=3, detach_norm=detach_norm)
    Plan([Rule("*", adapter=adapter)]).apply(model)
    dense = model.get_layer("dense")
    a, up = dense.lora_a.numpy(), dense.lora_b.numpy()
    m = np.linalg.norm(w, axis=0)
    np.testing.assert_allclose(dense.magnitude, m, rtol=1e-6)
    model.compile(kmmft.training.SGD(0.1), "mse")
    model.fit(X, Y, batch_size=6, epochs=4, shuffle=False, verbose=0)
    for _ in range(4):
        v = w + 1.5 * a @ up
        norm = np.linalg.norm(v, axis=0)
        unit = v / norm
        dw = X.T @ output_gradient(X @ (m * unit) + b)
        dv = m / norm * dw
        if not detach_norm:
            dv = dv - unit * np.sum(unit * dv, axis=0)
        dm = np.sum(unit * dw, axis=0)
        a, up = a - 0.15 * dv @ up.T, up - 0.15 * a.T @ dv
        m = m - 0.1 * dm
    np.testing.assert_allclose(dense.magnitude, m, atol=1e-6)
    np.testing.assert_allclose(dense.lora_a, a, atol=1e-6)
    np.testing.assert_allclose(dense.lora_b, up, atol=1e-6)


def query():
    return keras.layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de")


def attention_output():
    return keras.layers.EinsumDense("abde,dec->abc", (None, 4), bias_axes="c")


def transposed():
    return keras.layers.EinsumDense("abc,dc->abd", (None, 4))


def by_head():
    """One kernel for each head: letters that input, kernel and output share."""
    return keras.layers.EinsumDense("abdc,dce->abde", (None, 2, 3), activation="tanh")


def conv(**kwargs):
    return keras.layers.Conv2D(4, 3, padding="same", activation="relu", **kwargs)


# Layer, input, and the einsum by which A B (inputs x outputs) becomes a kernel.
LAYERS = {
    "dense": (lambda: keras.layers.Dense(3, "tanh"), (2, 4, 5), (5, 3)),
    "query": (query, (2, 4, 5), (5, 2, 3)),
    "attention_output": (attention_output, (2, 4, 2, 3), (2, 3, 4)),
    "by_head": (by_head, (2, 4, 2, 5), (2, 5, 3)),
    "conv": (conv, (2, 6, 6, 3), (3, 3, 3, 4)),
    "grouped": (lambda: conv(groups=2), (2, 6, 6, 4), (3, 3, 2, 4)),
    "strided": (lambda: keras.layers.Conv1D(4, 2, 2), (2, 6, 3), (2, 3, 4)),
}
COLUMNS = {"query": 6}


def built(layer, shape):
    inputs = keras.Input(shape[1:])
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize("kind", LAYERS)
def test_lora_adds_a_product_to_any_kernel(kind):
    make, shape, kernel_shape = LAYERS[kind]
    layer = make()
    model = built(layer, shape)
    config = layer.get_config()
    kind_before = type(layer)
    x = random(*shape)
    before = model(x)
    base = layer.kernel.numpy()
    a, b = insert(model, LoRA(rank=2, alpha=1))
    np.testing.assert_allclose(model(x), before, atol=1e-6)
    randomise([a, b])
    assert base.shape == kernel_shape and a.shape[-1] == b.shape[0] == 2
    assert b.shape[1] == COLUMNS.get(kind, kernel_shape[-1])
    product = (a.numpy() @ b.numpy()).reshape(kernel_shape)
    again = kind_before.from_config(config)
    again.build(shape)
    bias = [] if layer.bias is None else [layer.bias.numpy()]
    again.set_weights([base + 0.5 * product, *bias])
    np.testing.assert_allclose(model(x), again(x), atol=1e-5)
    assert np.abs(model(x) - before).max() > 0.1


def test_lora_reads_a_transposed_kernel_by_its_equation():
    layer = transposed()
    model = built(layer, (2, 3, 5))
    base, x = layer.kernel.numpy(), random(2, 3, 5)
    a, b = insert(model, LoRA(rank=2, alpha=2))
    randomise([a, b])
    assert a.shape == (5, 2) and b.shape == (2, 4)
    expected = x @ (base.T + a.numpy() @ b.numpy())
    np.testing.assert_allclose(model(x), expected, atol=1e-5)


def test_lora_of_a_depthwise_convolution():
    layer = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)
    model = built(layer, (2, 6, 6, 3))
    config, x = layer.get_config(), random(2, 6, 6, 3)
    base, bias = (v.numpy() for v in layer.weights)
    a, b = insert(model, LoRA(rank=2, alpha=2))
    assert a.shape == (9, 2) and b.shape == (2, 6)
    randomise([a, b])
    again = keras.layers.DepthwiseConv2D.from_config(config)
    again.build(x.shape)
    again.set_weights([base + (a.numpy() @ b.numpy()).reshape(base.shape), bias])
    np.testing.assert_allclose(model(x), again(x), atol=1e-5)


def test_lora_of_an_embedding_leaves_unseen_tokens():
    inputs = keras.Input((3,), dtype="int32")
    layer = keras.layers.Embedding(7, 4, name="table")
    model = Model(inputs, layer(inputs))
    base = layer.embeddings.numpy()
    Plan([Rule("*", adapter=LoRA(rank=2, alpha=2))]).apply(model)
    b = layer.lora_b.numpy()
    assert b.any() and not layer.lora_a.numpy().any()
    model.compile(kmmft.training.SGD(1.0), "mse")
    tokens, targets = np.array([[1, 2, 1]]), random(1, 3, 4)
    model.fit(tokens, targets, verbose=0)
    g = 2 * (base[tokens[0]] - targets[0]) / targets.size
    a = np.zeros((7, 2), "float32")
    np.add.at(a, tokens[0], -g @ b.T)
    np.testing.assert_allclose(layer.lora_a, a, atol=1e-6)
    # A was zero in the only step, so that B has not moved.
    np.testing.assert_allclose(model(tokens)[0], (base + a @ b)[tokens[0]], atol=1e-5)


def test_dropout_is_of_the_branch_only():
    model = dense_model()
    dense = model.get_layer("dense")
    w, b = dense.kernel.numpy(), dense.bias.numpy()
    weights = insert(model, LoRA(rank=2, alpha=2, dropout_rate=0.5))
    assert [v.name for v in weights] == ["lora_a", "lora_b"]
    randomise(weights)
    a, up = (v.numpy() for v in weights)
    eye = np.eye(5, dtype="float32")
    in_training = model(eye, training=True).numpy() - eye @ w - b
    for row, whole in zip(in_training, a @ up, strict=True):
        # An input is let through twofold, or not at all.
        assert np.allclose(row, 2 * whole, atol=1e-5) or np.allclose(row, 0, atol=1e-5)
    assert np.abs(in_training - 2 * a @ up).max() > 0.1
    np.testing.assert_allclose(model(eye), w + b + a @ up, atol=1e-5)


@pytest.mark.parametrize("detach_norm", [True, False])
def test_columns_of_zeros_can_learn(detach_norm):
    model = dense_model()
    dense = model.get_layer("dense")
    dense.kernel.assign(np.zeros((5, 3)))
    fit(model, DoRA(rank=2, detach_norm=detach_norm))
    assert np.isfinite(model(X)).all()
    assert np.abs(dense.magnitude.numpy()).min() > 1e-3


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
@pytest.mark.parametrize("adapter", [LoRA(rank=2), DoRA(rank=2)])
def test_mixed_precision_keeps_float32_weights(policy, adapter):
    keras.config.set_dtype_policy(policy)
    model = dense_model()
    before = model(X).numpy().astype("float32")
    fit(model, adapter, steps=2)
    dense = model.get_layer("dense")
    after = model(X)
    assert {v.dtype for v in dense.adapter_weights()} == {"float32"}
    assert dense.bias.dtype == ("bfloat16" if policy == "bfloat16" else "float32")
    assert after.dtype == dense.compute_dtype
    matrix = dense.adapted_kernel().numpy().astype("float32")
    # Two half-precision roundings of numbers near one.
    expected = X @ matrix + dense.bias.numpy().astype("float32")
    np.testing.assert_allclose(after.numpy().astype("float32"), expected, atol=0.05)
    assert np.abs(after.numpy().astype("float32") - before).max() > 0


def test_targets_choose_layers():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(4, name="query"),
            keras.layers.Dense(4, name="value"),
            keras.layers.Dense(2, name="logits"),
        ]
    )
    weights = insert(model, LoRA(rank=2, targets=("query", "val*")))
    assert len(weights) == 4
    assert not hasattr(model.get_layer("logits"), "lora_a")
    with pytest.raises(ValueError, match=r"'qury'. Near are \['query'"):
        insert(model, LoRA(targets="qury"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: LoRA(rank=0),
        lambda: LoRA(alpha=-1),
        lambda: DoRA(rank=-2),
        lambda: LoRA(dropout_rate=1.0),
    ],
)
def test_bad_numbers_are_refused(make):
    with pytest.raises(ValueError, match=r"Received: \w+="):
        make()


def test_layers_that_cannot_take_an_adapter_are_refused():
    model = dense_model()
    insert(model, LoRA(rank=2))
    with pytest.raises(ValueError, match="'dense', which has an adapter already"):
        insert(model, DoRA(rank=2))
    model = dense_model()
    model.get_layer("dense").call = lambda inputs, training=None: inputs
    with pytest.raises(ValueError, match="Rematerialise after adapters are in"):
        insert(model, LoRA(rank=2))
    model = dense_model()
    model.quantize("int8")
    with pytest.raises(ValueError, match="'dense', which is quantised"):
        insert(model, LoRA(rank=2))
    norm = keras.Sequential([keras.Input((4,)), keras.layers.LayerNormalization()])
    with pytest.raises(ValueError, match="The rule has none of them"):
        insert(norm, LoRA(rank=2))
