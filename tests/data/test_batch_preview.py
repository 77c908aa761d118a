import numpy as np
import pytest
import tensorflow as tf

from kmmft.data import Vocabulary, preview


@pytest.fixture(scope="module")
def batch():
    return {
        "image": np.full((3, 4, 4, 3), 300.0),
        "id": tf.constant(["a$1", "b", "c"]),
        "label": tf.constant([1, 0, 1]),
        "token_ids": tf.zeros((3, 5), tf.int32),
    }


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_images_with_what_belongs_to_them(batch):
    figure = preview(batch, vocabulary=Vocabulary(["no", "yes"]))
    assert len(figure.axes) == 3
    assert figure.axes[0].images[0].get_array().max() == 255
    assert titles(figure)[0].split("\n") == [
        r"id: a\$1",
        "label: yes",
        "token_ids: int32(5,)",
    ]
    figure.canvas.draw()


def test_pairs_and_datasets(batch):
    pairs = ({"image": batch["image"]}, batch["label"])
    dataset = tf.data.Dataset.from_tensors(pairs)
    assert titles(preview(dataset, num_examples=2)) == ["y: 1", "y: 0"]


def test_tokenizer_gives_the_text(batch):
    class Tokenizer:
        def detokenize(self, token_ids):
            return tf.constant(["a cat"] * len(token_ids))

    figure = preview({"token_ids": batch["token_ids"]}, tokenizer=Tokenizer())
    assert titles(figure) == ["token_ids: a cat"] * 3


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="at least one example"):
        preview(tf.data.Dataset.from_tensor_slices({"id": ["a"]}).batch(1).take(0))
