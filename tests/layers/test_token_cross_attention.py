import numpy as np
import pytest

from kmmft.layers import TokenCrossAttention
from tests.layers.references import attention_block, dense, layer_norm, randomize

RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.normal(size=(2, 3, 8))
CONTEXT = RANDOM.normal(size=(2, 5, 6))
TOKENS_MASK = np.array([[True, True, False], [True, True, True]])
CONTEXT_MASK = np.array([[True, False, True, True, False], [True] * 5])


def make_layer(**options):
    layer = TokenCrossAttention(**options)
    layer.build(TOKENS.shape, CONTEXT.shape)
    randomize(layer)
    return layer


@pytest.mark.parametrize(("num_layers", "num_heads"), [(1, 1), (2, 2)])
def test_tokens_equal_numpy(num_layers, num_heads):
    layer = make_layer(num_layers=num_layers, num_heads=num_heads)
    found = layer(TOKENS, CONTEXT, TOKENS_MASK, CONTEXT_MASK).numpy()
    for row in range(2):
        x, context = TOKENS[row], dense(layer.projection, CONTEXT[row])
        for index in range(num_layers):
            cross, own = layer.blocks[f"cross_{index}"], layer.blocks[f"self_{index}"]
            x = attention_block(cross, x, CONTEXT_MASK[row], context)
            x = attention_block(own, x, TOKENS_MASK[row])
        expected = layer_norm(layer.norm, x)
        real = TOKENS_MASK[row]
        np.testing.assert_allclose(found[row][real], expected[real], atol=2e-5)


def test_what_is_masked_is_not_read():
    layer = make_layer(num_heads=2)
    expected = layer(TOKENS, CONTEXT, TOKENS_MASK, CONTEXT_MASK).numpy()
    context = np.where(CONTEXT_MASK[..., None], CONTEXT, np.nan)
    tokens = np.where(TOKENS_MASK[..., None], TOKENS, 7.0)
    tokens = np.concatenate([tokens, np.full((2, 4, 8), 3.0)], axis=1)
    mask = np.concatenate([TOKENS_MASK, np.zeros((2, 4), bool)], axis=1)
    found = layer(tokens, context, mask, CONTEXT_MASK).numpy()[:, :3]
    np.testing.assert_allclose(found[TOKENS_MASK], expected[TOKENS_MASK], atol=1e-5)
    nothing = np.zeros_like(CONTEXT_MASK)
    blind = [layer(TOKENS, c, TOKENS_MASK, nothing) for c in (CONTEXT, context)]
    np.testing.assert_array_equal(*blind)
    assert np.isfinite(blind[0]).all()


def test_bad_arguments():
    with pytest.raises(ValueError, match="`num_layers` must be positive"):
        TokenCrossAttention(num_layers=0)
    with pytest.raises(ValueError, match="`num_heads` must divide"):
        make_layer(num_heads=3)
