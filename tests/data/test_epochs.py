import time

import numpy as np
import pytest

from kmmft.data.epochs import Epochs

LENGTHS = (7, 0, 19, 4, 30, 1, 12, 7)
FIRST_OF_SEED_5 = [31, 30, 32, 7, 61, 73, 9, 8]


def order(epochs, epoch=0, start=0):
    """Numbers by position, from `start` on."""
    found = {}
    for begin, numbers in epochs.windows(epoch, start):
        assert not found or begin == max(found) + 1
        found |= dict(enumerate(numbers.tolist(), begin))
    return [number for position, number in sorted(found.items()) if position >= start]


@pytest.mark.parametrize("window", [1, 5, 16, 1000])
@pytest.mark.parametrize("seed", [0, -3, 2**70])
def test_an_epoch_has_each_record_once(window, seed):
    epochs = Epochs(LENGTHS, 80, seed, window)
    whole = order(epochs)
    assert sorted(whole) == list(range(80)) and whole != sorted(whole)
    assert order(epochs, epoch=1) != whole
    for start in (0, 1, 33, 79):
        assert order(epochs, start=start) == whole[start:]


def test_windows_hold_no_more_than_they_may():
    epochs = Epochs((100,) * 50, 5000, 3, 64)
    sizes = [len(numbers) for _, numbers in epochs.windows(0)]
    # The shards of a group are rounded one by one.
    assert sum(sizes) == 5000 and max(sizes) <= 64 + 17


def test_records_of_all_shards_are_mixed():
    """A window has records of all shards that are read at once, in equal parts."""
    epochs = Epochs((100,) * 64, 6400, 3, 320)
    for _, numbers in epochs.windows(0):
        assert len(np.unique(numbers // 100)) == 16


def test_the_order_is_fixed_for_good():
    """A run may be resumed with another version of NumPy, or of this file."""
    assert order(Epochs(LENGTHS, 80, 5, 8))[:8] == FIRST_OF_SEED_5


@pytest.mark.parametrize("seed", [None, 4])
@pytest.mark.parametrize("size", [60, 80, 96, 250])
def test_an_epoch_takes_less_or_begins_again(seed, size):
    epochs = Epochs(LENGTHS, size, seed, 16)
    once = order(Epochs(LENGTHS, 80, seed, 16))
    expected = (once * 4)[:size]
    for start in (0, 1, 59, size - 1):
        assert order(epochs, start=start) == expected[start:]


def test_the_middle_of_a_large_epoch_is_found_at_once():
    epochs = Epochs((10_000,) * 10_000, 10**8, 0, 5000)
    start = time.process_time()
    begin, numbers = next(epochs.windows(3, 77_777_777))
    assert begin <= 77_777_777 < begin + len(numbers)
    assert time.process_time() - start < 2
