import numpy as np
import pytest
import tensorflow as tf

from kmmft import data

CAPTIONS = tf.constant(["a", "b", "c"])


@tf.function
def drawn(count, captions=CAPTIONS):
    seeds = tf.stack([tf.zeros(count, tf.int32), tf.range(count)], axis=1)
    return tf.map_fn(lambda seed: data.choose_caption(captions, seed), seeds, tf.string)


def test_all_captions_are_as_likely():
    _, counts = np.unique(drawn(3000).numpy(), return_counts=True)
    # Five standard deviations of a binomial count with p = 1/3.
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(3000 * 2 / 9)


def test_choice_depends_on_the_seed_alone():
    first = drawn(50).numpy()
    tf.random.set_seed(7)
    np.testing.assert_array_equal(first, drawn(50).numpy())
    assert len(set(drawn(50, CAPTIONS[:1]).numpy())) == 1


def test_choice_says_nothing_about_a_flip_by_the_same_seed():
    seeds = [(0, n) for n in range(400)]
    second = np.array(
        [data.choose_caption(CAPTIONS[:2], s).numpy() == b"b" for s in seeds]
    )
    flip = [tf.random.stateless_uniform((), s).numpy() < 0.5 for s in seeds]
    assert abs(np.corrcoef(second, flip)[0, 1]) < 0.2


def test_without_a_seed_the_first():
    assert data.choose_caption(CAPTIONS).numpy() == b"a"
    ids = tf.function(data.choose_caption)
    assert ids(CAPTIONS).numpy() == b"a"


def test_no_captions():
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have a caption"):
        data.choose_caption(CAPTIONS[:0], (0, 1))
    chosen = tf.function(lambda captions: data.choose_caption(captions, (0, 1)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have a caption"):
        chosen(CAPTIONS[:0])


def test_several_captions_come_once_each():
    for n in range(20):
        chosen = data.choose_captions(CAPTIONS, 3, (0, n)).numpy()
        assert sorted(chosen) == [b"a", b"b", b"c"]
    twice = data.choose_captions(CAPTIONS, 6, (0, 1)).numpy().tolist()
    assert sorted(twice[:3]) == [b"a", b"b", b"c"] and twice[3:] == twice[:3]
    firsts = {data.choose_captions(CAPTIONS, 2, (0, n)).numpy()[0] for n in range(30)}
    assert firsts == {b"a", b"b", b"c"}
    assert data.choose_captions(CAPTIONS, 2).numpy().tolist() == [b"a", b"b"]
    chosen = tf.function(lambda captions: data.choose_captions(captions, 2, (0, 1)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have a caption"):
        chosen(CAPTIONS[:0])


def test_all_captions_of_a_directory_are_in_one_group(toy_directory):
    def batches(start_step):
        dataset = data.build_dataset(
            toy_directory,
            split="train",
            preprocess=lambda record: (
                {
                    "id": record["id"],
                    "captions": record["captions"],
                    "picture": data.decode_image(record["image"], 8),
                }
                | {"captions": data.choose_captions(record["captions"], 3)}
            ),
            batch_preprocess=lambda batch: data.repeat_for_captions(batch, "captions"),
            batch_size=4,
            training=True,
            start_step=start_step,
        )
        return list(dataset.take(2).as_numpy_iterator())

    first, second = batches(0)
    assert first["captions"].shape == (12,) and first["picture"].shape == (12, 8, 8, 3)
    groups = first["example_group"].reshape(4, 3)
    assert (groups == groups[:, :1]).all() and len(np.unique(groups)) == 4
    np.testing.assert_array_equal(first["id"].reshape(4, 3)[:, 0], first["id"][::3])
    resumed = batches(1)[0]
    for name, value in second.items():
        np.testing.assert_array_equal(value, resumed[name])


def test_repeating_needs_groups_and_captions():
    with pytest.raises(ValueError, match="only known by"):
        data.repeat_for_captions({"text": tf.constant([["a", "b"]])})
    with pytest.raises(ValueError, match=r"\(batch, count\)"):
        data.repeat_for_captions({"id": tf.constant(["a"]), "text": tf.constant(["a"])})
    own = data.repeat_for_captions(
        {"example_group": tf.constant([5, 6]), "text": tf.constant([["a", "b"]] * 2)}
    )
    assert own["example_group"].numpy().tolist() == [5, 5, 6, 6]
