import numpy as np
import pytest
import tensorflow as tf

from kmmft.data import ImageAugmentation

OFF = {
    "crop_area": (1.0, 1.0),
    "crop_aspect_ratio": (1.0, 1.0),
    "horizontal_flip": False,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
}


@pytest.fixture(scope="module")
def image():
    return tf.constant(
        np.random.default_rng(0).uniform(0, 255, (16, 16, 3)), tf.float32
    )


def results(augmentation, image, seeds=20):
    call = tf.function(augmentation)
    return [call(image, tf.constant([3, seed])).numpy() for seed in range(seeds)]


def test_off_leaves_the_image(image):
    for result in results(ImageAugmentation(**OFF), image, 3):
        np.testing.assert_array_equal(result, image)


def test_everything_on_stays_in_range_and_repeats(image):
    augmentation = ImageAugmentation(
        crop_area=(0.2, 1.0),
        vertical_flip=True,
        quarter_turns=True,
        brightness=1.0,
        contrast=1.0,
        saturation=1.0,
        hue=0.5,
    )
    first, second = (results(augmentation, image) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    # Some are all black or all white, with changes as large as this.
    assert len({result.tobytes() for result in first}) >= 15
    assert np.min(first) >= 0 and np.max(first) <= 255 and np.isfinite(first).all()
    assert first[0].shape == image.shape


def test_flips_and_turns_are_exact_and_all_come(image):
    turned = {np.rot90(image, turns).tobytes() for turns in range(4)}
    augmentation = ImageAugmentation(**{**OFF, "quarter_turns": True})
    assert {result.tobytes() for result in results(augmentation, image, 40)} == turned
    mirrored = {image.numpy().tobytes(), np.fliplr(image).tobytes()}
    augmentation = ImageAugmentation(**{**OFF, "horizontal_flip": True})
    assert {result.tobytes() for result in results(augmentation, image)} == mirrored


def test_crop_zooms_without_leaving_the_image():
    # Columns numbered from left to right: a crop is a shorter, straight range.
    ramp = tf.constant(np.tile(np.arange(32.0)[None, :, None], (32, 1, 3)), tf.float32)
    options = {**OFF, "crop_area": (0.25, 0.25)}
    lefts = []
    for result in results(ImageAugmentation(**options), ramp):
        row = result[0, :, 0]
        steps = np.diff(row)
        np.testing.assert_allclose(steps, 0.5, atol=1e-4)
        np.testing.assert_allclose(result[-1], result[0], atol=1e-4)
        lefts.append(row[0])
    assert min(lefts) >= 0 and max(lefts) <= 15.6
    assert np.ptp(lefts) > 5


def test_brightness_shifts_all_alike():
    grey = tf.fill((4, 4, 3), 100.0)
    shifts = [
        result - 100
        for result in results(ImageAugmentation(**{**OFF, "brightness": 0.2}), grey)
    ]
    for shift in shifts:
        np.testing.assert_allclose(shift, shift[0, 0, 0], atol=1e-3)
    assert np.abs(shifts).max() <= 51.001 and np.ptp(shifts) > 30


def test_contrast_and_saturation_follow_their_definitions(image):
    weights = np.array([0.299, 0.587, 0.114])
    image = 100 + (image.numpy() - 128) * 0.3  # Far from the ends: nothing is cut.
    grey = (image @ weights)[..., None]
    for name, centre in (("contrast", grey.mean()), ("saturation", grey)):
        for result in results(ImageAugmentation(**{**OFF, name: 0.5}), image, 5):
            factor = ((result - centre) * (image - centre)).sum() / (
                (image - centre) ** 2
            ).sum()
            assert 0.5 <= factor <= 1.5
            expected = centre + factor * (image - centre)
            np.testing.assert_allclose(result, expected, atol=1e-2)


@pytest.mark.parametrize(
    "options",
    [
        {"crop_area": (0.0, 1.0)},
        {"crop_area": (0.5, 1.5)},
        {"crop_aspect_ratio": (2.0, 1.0)},
        {"brightness": -0.1},
        {"hue": 0.6},
    ],
)
def test_ranges_are_checked(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must"):
        ImageAugmentation(**options)


def test_turns_need_squares():
    with pytest.raises(ValueError, match="square"):
        ImageAugmentation(quarter_turns=True)(tf.zeros((4, 5, 3)), (0, 0))
