"""The layers' equations in NumPy, with a Keras layer's own weights."""

import math

import numpy as np

erf = np.vectorize(math.erf)


def value(variable):
    return np.asarray(variable.numpy(), "float64")


def dense(layer, x):
    return x @ value(layer.kernel) + (value(layer.bias) if layer.use_bias else 0.0)


def relu(x):
    return np.maximum(x, 0.0)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))


def normalize(x, epsilon=1e-6):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)


def layer_norm(layer, x):
    return normalize(x) * value(layer.gamma) + value(layer.beta)


def attention(layer, query, keys, mask):
    """Multi-head attention of `(T, D)` on `(S, D)`, one example, mask `(S,)`."""
    q = np.einsum("td,dhk->htk", query, value(layer.query_dense.kernel))
    k = np.einsum("sd,dhk->hsk", keys, value(layer.key_dense.kernel))
    v = np.einsum("sd,dhk->hsk", keys, value(layer.value_dense.kernel))
    q += value(layer.query_dense.bias)[:, None]
    k += value(layer.key_dense.bias)[:, None]
    v += value(layer.value_dense.bias)[:, None]
    scores = np.einsum("htk,hsk->hts", q, k) / math.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max()) * mask
    weights /= weights.sum(-1, keepdims=True)
    heads = np.einsum("hts,hsk->thk", weights, v)
    output = layer.output_dense
    return np.einsum("thk,hkd->td", heads, value(output.kernel)) + value(output.bias)


def attention_block(block, x, mask, context=None):
    """The pre-norm block on one example."""
    normed = layer_norm(block.attention_norm, x)
    keys = normed if context is None else layer_norm(block.context_norm, context)
    x = x + attention(block.attention, normed, keys, mask)
    hidden = gelu(dense(block.hidden, layer_norm(block.output_norm, x)))
    return x + dense(block.output_projection, hidden)


def randomize(layer, seed=0):
    """Gives every weight, biases too, a value that an error would show in."""
    generator = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        variable.assign(generator.normal(size=variable.shape, scale=0.5))
