import numpy as np
import pytest

import kmmft
from kmmft.losses import Embeddings, sampled_softmax

RANDOM = np.random.default_rng(0)
USERS, ITEMS = RANDOM.normal(size=(2, 5, 4))
CHOSEN = np.array([3, 8, 3, 1, 8])


def embeddings(vectors):
    return Embeddings.from_vectors(vectors, CHOSEN)


def test_equals_the_papers_equations():
    """Yi et al. (2019), eq. 3-5, with repeated items left out, in NumPy."""
    shares = {3: 0.5, 8: 0.3, 1: 0.2}
    often = np.log([shares[item] for item in CHOSEN])
    loss = sampled_softmax(embeddings(USERS), embeddings(ITEMS), 7.0, often)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (USERS, ITEMS)]
    logits = 7.0 * unit[0] @ unit[1].T - often
    for row in range(5):
        others = [c for c in range(5) if c == row or CHOSEN[c] != CHOSEN[row]]
        total = np.log(np.exp(logits[row, others]).sum())
        assert float(loss[row]) == pytest.approx(total - logits[row, row], rel=1e-5)


def test_without_frequencies_it_is_one_direction_of_info_nce():
    found = sampled_softmax(embeddings(USERS), embeddings(ITEMS), 7.0)
    expected = kmmft.losses.InfoNCE(same_group="ignore").directed(
        embeddings(USERS), embeddings(ITEMS), logit_scale=7.0
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
