import pytest

from kmmft.training import RecipeConfig, make_strategy


@pytest.mark.parametrize(
    ("validations", "steps_per_epoch", "expected"),
    [
        (1, 10, (10, 6)),
        (4, 10, (2, 24)),
        (10, 10, (1, 60)),
        # Not more often than there are steps: six epochs of three steps stay 18.
        (10, 3, (1, 18)),
    ],
)
def test_rounds(validations, steps_per_epoch, expected):
    config = RecipeConfig(epochs=6, validations_per_epoch=validations)
    assert config.rounds(steps_per_epoch) == expected
    steps, rounds = expected
    assert steps * rounds <= 6 * steps_per_epoch


@pytest.mark.parametrize(
    "name", ["epochs", "validations_per_epoch", "patience", "batch_size", "image_size"]
)
def test_settings_that_must_be_positive(name):
    with pytest.raises(ValueError, match=rf"`--{name}` must be at least 1. .*: 0\."):
        RecipeConfig(**{name: 0})


def test_one_strategy_a_process():
    assert make_strategy("one_device") is make_strategy("one_device")
