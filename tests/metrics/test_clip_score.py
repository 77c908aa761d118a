import numpy as np
import pytest

from kmmft.metrics import clip_scores


def test_equals_the_authors_formula():
    random = np.random.default_rng(0)
    images, texts = random.normal(size=(2, 6, 4))
    lengths = [np.sqrt((x**2).sum(1, keepdims=True)) for x in (images, texts)]
    # As in their script: w * np.clip(np.sum(images * candidates, axis=1), 0, None).
    products = np.sum(images / lengths[0] * (texts / lengths[1]), axis=1)
    expected = 2.5 * np.clip(products, 0, None)
    np.testing.assert_allclose(clip_scores(images, texts), expected, atol=1e-6)
    assert 0 < (expected == 0).sum() < 6


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (np.ones((2, 3)), r"shape \(1, 3\) and texts of shape \(2, 3\)"),
        (np.ones((1, 4)), r"texts of shape \(1, 4\)"),
        (np.full((1, 3), np.nan), "`texts` must be finite"),
        (np.ones(3), "`texts` must be an array of vectors"),
    ],
)
def test_bad_vectors(texts, message):
    with pytest.raises(ValueError, match=message):
        clip_scores(np.ones((1, 3)), texts)
