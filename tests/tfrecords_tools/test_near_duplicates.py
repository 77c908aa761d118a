import numpy as np
import PIL.Image
import pytest

from tfrecords_tools.near_duplicates import (
    MAX_DISTANCE,
    group_near_duplicates,
    perceptual_hash,
)


def picture(seed: int) -> PIL.Image.Image:
    """A few soft blobs: nothing in it is symmetric."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (6, 6)).astype(np.uint8)
    return PIL.Image.fromarray(coarse).resize((64, 64), PIL.Image.Resampling.BICUBIC)


def hash_of(image: PIL.Image.Image) -> np.ndarray:
    small = image.convert("L").resize((64, 64), PIL.Image.Resampling.LANCZOS)
    return perceptual_hash(np.asarray(small))


def test_equal_to_imagehash():
    # imagehash.phash(picture(0), hash_size=16), ImageHash 4.3.2.
    expected = "b69b2499f999215324dfac57d99a5182d932dd920c928d9239938dd659b789f2"
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(expected), np.uint8))
    np.testing.assert_array_equal(hash_of(picture(0)), bits.astype(bool))


def test_changed_pictures_stay_near_and_others_far():
    image = picture(0)
    pixels = np.asarray(image).astype(float)
    changed = {
        "larger": image.resize((200, 200), PIL.Image.Resampling.BICUBIC),
        "darker": PIL.Image.fromarray((0.7 * pixels).astype(np.uint8)),
        "noisy": PIL.Image.fromarray(
            np.clip(
                pixels + np.random.default_rng(1).normal(0, 2, (64, 64)), 0, 255
            ).astype(np.uint8)
        ),
    }
    for name, other in changed.items():
        assert (hash_of(image) != hash_of(other)).sum() <= MAX_DISTANCE, name
    others = [(hash_of(image) != hash_of(picture(n))).sum() for n in range(1, 20)]
    assert min(others) > MAX_DISTANCE


def test_symmetric_picture_has_one_hash():
    # Half of its frequencies are zero but for rounding.
    pixels = np.zeros((64, 64), np.uint8)
    pixels[16:48, 16:48] = 200
    first = perceptual_hash(pixels)
    np.testing.assert_array_equal(first, perceptual_hash(pixels[::-1, ::-1]))
    np.testing.assert_array_equal(
        first, perceptual_hash(pixels.T).reshape(16, 16).T.reshape(-1)
    )


def test_nearness_is_made_transitive():
    chain = np.tril(np.ones((6, 5), bool), -1)  # Neighbours differ in one bit.
    assert group_near_duplicates(chain, max_distance=1) == [0] * 6
    assert group_near_duplicates(chain[[0, 2, 4]], max_distance=1) == [0, 1, 2]


def test_keys_join_what_looks_different():
    far = np.eye(4, dtype=bool)
    keys = [["a", "b", "a", "c"], [1, 2, 3, 2]]
    assert group_near_duplicates(far, keys, max_distance=1) == [0, 1, 0, 1]
    assert group_near_duplicates(far, max_distance=1) == [0, 1, 2, 3]


def test_equal_to_brute_force_over_many_rows(monkeypatch):
    monkeypatch.setattr("tfrecords_tools.near_duplicates._ROWS_AT_ONCE", 7)
    hashes = np.random.default_rng(0).random((40, 12)) < 0.5
    near = (hashes[:, None] != hashes[None]).sum(-1) <= 2
    reach = near
    for _ in range(6):  # Paths of up to 64 steps.
        reach = reach @ reach
    expected = [int(np.flatnonzero(row)[0]) for row in reach]
    assert group_near_duplicates(hashes, max_distance=2) == expected
    assert 1 < len(set(expected)) < 40


def test_wrong_size():
    with pytest.raises(ValueError, match=r"64 x 64 grey pixels.*\(8, 8\)"):
        perceptual_hash(np.zeros((8, 8)))
