import keras
import numpy as np
import pytest

from kmmft.layers import SpecAugment

FRAMES, BANDS = 60, 20


def hidden(layer, batch=200, mask=None):
    """Which frames and bands are masked wholly, `(batch, frames)`, `(batch, bands)`."""
    ones = np.ones((batch, FRAMES, BANDS), np.float32)
    zero = np.asarray(layer(ones, mask=mask, training=True)) == 0
    frames, bands = zero.all(axis=2), zero.all(axis=1)
    np.testing.assert_array_equal(zero, frames[:, :, None] | bands[:, None])
    return frames, bands


def runs(row):
    return np.sum(np.diff(np.pad(row.astype(int), 1)) == 1)


def test_masks_are_of_every_width_up_to_the_greatest_and_at_every_place():
    frames, bands = hidden(SpecAugment(1, 10, 1, 4, seed=1), batch=2000)
    for masked, widest in ((frames, 10), (bands, 4)):
        assert set(masked.sum(axis=1)) == set(range(widest + 1))
        assert max(map(runs, masked)) == 1
        assert masked.any(axis=0).all()


def test_several_masks_and_the_greatest_share():
    frames, bands = hidden(SpecAugment(2, 100, 0, 4, max_time_share=0.2, seed=1))
    assert not bands.any()
    assert frames.sum(axis=1).max() <= 2 * 0.2 * FRAMES
    assert max(map(runs, frames)) == 2


def test_frames_that_are_not_real_are_never_chosen():
    mask = np.arange(FRAMES)[None] < np.array([[8], [40]])
    mask = np.repeat(mask, 100, axis=0)
    frames, _ = hidden(SpecAugment(1, 100, 0, 0, seed=1), mask=mask)
    assert not np.any(frames & ~mask)
    assert set(frames[:100].sum(axis=1)) <= set(range(9)) and frames[100:].any()


def test_off_in_inference_and_repeatable_by_its_seed():
    ones = np.ones((4, FRAMES, BANDS), np.float32)
    layer, same = SpecAugment(seed=3), SpecAugment(seed=3)
    np.testing.assert_array_equal(layer(ones), ones)
    first = layer(ones, training=True)
    np.testing.assert_array_equal(first, same(ones, training=True))
    assert np.any(first != layer(ones, training=True))
    again = SpecAugment.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    frames = keras.Input((FRAMES, BANDS))
    assert layer(frames).shape == frames.shape


@pytest.mark.parametrize("options", [{"num_time_masks": -1}, {"max_time_share": 1.5}])
def test_bad_arguments(options):
    with pytest.raises(ValueError, match="Received: "):
        SpecAugment(**options)
