import collections

import numpy as np
import pytest

from kmmft.data import Examples


def examples(count, first=0):
    rows = np.arange(first, first + count)
    return Examples({"x": rows[:, None].astype("float32")}, rows % 3)


def test_sure_ones_have_the_models_classes():
    some = examples(4)
    chances = [[0.1, 0.9, 0.0], [0.5, 0.4, 0.1], [0.0, 0.05, 0.95], [0.9, 0.1, 0.0]]
    sure = some.sure_ones(chances, 0.9)
    assert sure.inputs["x"].ravel().tolist() == [0, 2, 3]
    assert sure.labels.tolist() == [1, 2, 0] and sure.labels.dtype == some.labels.dtype
    assert some.labels.tolist() == [0, 1, 2, 0]
    with pytest.raises(ValueError, match=r"shape \(3, 3\) for 4 examples"):
        some.sure_ones(chances[:3], 0.9)


@pytest.mark.parametrize(("few", "many"), [(2, 5), (5, 2), (3, 3)])
def test_half_of_what_is_drawn_is_of_either_kind(few, many):
    both = examples(few).with_others(examples(many, first=10))
    size = max(few, many)
    counts = collections.Counter(both.inputs["x"].ravel().tolist())
    assert sum(n for x, n in counts.items() if x < 10) == size == len(both) / 2
    assert len(counts) == few + many
    np.testing.assert_array_equal(both.labels, both.inputs["x"].ravel() % 3)


def test_without_others_nothing_changes():
    some = examples(3)
    assert some.with_others(some.choose(np.zeros(0, int))) is some
