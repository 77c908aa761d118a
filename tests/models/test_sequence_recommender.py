import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.export import model_signatures
from tests.models.contrastive_cases import largest_difference

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat"]
LENGTH, BATCH, ITEMS = 3, 4, 6


def make_model(**options):
    keras.utils.set_random_seed(2)
    encoders = {
        "image": kmmft.encoders.ImageEncoder(
            keras_hub.models.ViTBackbone((16, 16, 3), 8, 1, 2, 8, 16)
        ),
        "text": kmmft.encoders.TextEncoder(
            keras_hub.models.BertBackbone(len(WORDS), 1, 2, 8, 16, dropout=0.0),
            keras_hub.tokenizers.BertTokenizer(WORDS, lowercase=True),
            sequence_length=4,
        ),
    }
    options = {"hidden_dim": 8, "dropout_rate": 0.0, **options}
    return kmmft.models.SequenceRecommender(encoders, history_length=LENGTH, **options)


@pytest.fixture(scope="module")
def model():
    return make_model()


def batch(correct=True):
    random = np.random.default_rng(0)
    table = {
        "image": random.normal(size=(ITEMS, 8)).astype("float32"),
        "text": random.normal(size=(ITEMS, 8)).astype("float32"),
        "image_present": np.array([True] * 5 + [False]),
        "text_present": np.array([True, False, True, True, True, True]),
    }
    past = np.array([[-1, 1, 2], [0, 3, 4], [-1, -1, 5], [4, 2, 1]])
    chosen = np.array([3, 1, 3, 5], np.int64)
    inputs = {"history_mask": past >= 0}
    for name, values in table.items():
        inputs[f"item_{name}"] = values[chosen]
        inputs[f"history_{name}"] = values[np.maximum(past, 0)]
    if correct:
        shares = np.array([0.1, 0.3, 0.1, 0.2, 0.1, 0.2], np.float32)
        inputs["item_log_frequency"] = np.log(shares)[chosen]
    return inputs, chosen


def trained(strategy=None, steps=3):
    with (strategy or tf.distribute.get_strategy()).scope():
        model = make_model()
        model.compile(kmmft.training.SGD(0.1, momentum=0.9))
    data = tf.data.Dataset.from_tensors(batch()).repeat(steps)
    losses = model.fit(data, verbose=0).history["loss"]
    return losses, [v.numpy() for v in model.trainable_variables]


def test_replicas_update_as_one_device(two_replicas):
    losses, weights = trained()
    other_losses, other_weights = trained(two_replicas)
    assert losses == pytest.approx(other_losses, rel=1e-5)
    assert largest_difference(weights, other_weights) < 1e-5


def test_loss_is_the_sampled_softmax_of_the_towers(model):
    model.compile(kmmft.training.SGD(0.1))
    inputs, chosen = batch()
    vectors = model(inputs)
    users, items = (
        kmmft.losses.Embeddings.from_vectors(vectors[name], chosen)
        for name in ("user", "item")
    )
    expected = kmmft.losses.sampled_softmax(
        users, items, 1 / 0.07, inputs["item_log_frequency"]
    )
    data = tf.data.Dataset.from_tensors((inputs, chosen))
    found = model.evaluate(data, verbose=0)
    assert found == pytest.approx(float(tf.reduce_mean(expected)), rel=1e-5)
    plain = model.evaluate(tf.data.Dataset.from_tensors(batch(False)), verbose=0)
    assert plain != pytest.approx(found, rel=1e-3)


def test_only_the_towers_train(model):
    names = {v.path.split("/")[0] for v in model.trainable_variables}
    assert not {"image_encoder", "text_encoder"} & names
    assert all(not encoder.trainable for encoder in model.encoders.values())


def test_nothing_but_real_items_reaches_the_user(model):
    inputs, _ = batch(False)
    before = model(inputs)["user"].numpy()
    for name in ("image", "text"):
        lacking = ~inputs["history_mask"] | ~inputs[f"history_{name}_present"]
        inputs[f"history_{name}"] = np.where(
            lacking[..., None], np.float32(9.0), inputs[f"history_{name}"]
        )
    np.testing.assert_array_equal(model(inputs)["user"], before)


def png(value):
    return tf.io.encode_png(np.full((20, 20, 3), value, np.uint8)).numpy()


RAW = {"image": [png(9), png(200), b""], "text": ["a red cat", "", "cat"]}


def test_items_and_users_of_raw_inputs(model):
    items = model.encode_items(RAW, batch_size=2)
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1, rtol=1e-5)
    # Only the latest items count, and nobody's history is a history too.
    users = model.encode_users([items, np.concatenate([items[:1], items]), []])
    np.testing.assert_allclose(users[0], users[1], rtol=1e-6)
    assert not users[2].any()
    backwards = model.encode_users([items[::-1]])
    assert np.abs(backwards - users[0]).max() > 1e-4
    mean = make_model(num_layers=0).encode_users([items])[0]
    expected = items.mean(axis=0)
    np.testing.assert_allclose(mean, expected / np.linalg.norm(expected), rtol=1e-5)
    with pytest.raises(ValueError, match="modalities"):
        model.encode_items({"text": ["a cat"]})


def test_save_and_load(model, tmp_path):
    model.compile(kmmft.training.SGD(0.1))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.encode_items(RAW), model.encode_items(RAW))
    inputs, _ = batch(False)
    np.testing.assert_array_equal(again(inputs)["user"], model(inputs)["user"])
    assert len(again.trainable_variables) == len(model.trainable_variables)


def test_served_functions_equal_the_methods(model):
    signatures = model_signatures(model)
    assert set(signatures) == {"serving_default", "encode_item", "encode_user"}
    raw = {name: tf.constant(values) for name, values in RAW.items()}
    served = signatures["encode_item"].function(**raw)
    items = model.encode_items(RAW)
    np.testing.assert_allclose(served["embedding"], items, atol=1e-6)
    assert not any(served["error"].numpy())
    examples = signatures["encode_user"].examples(raw)
    found = signatures["encode_user"].function(**examples)["embedding"]
    expected = model.encode_users([items[row : row + 1] for row in range(3)])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_bad_arguments_are_errors(model):
    with pytest.raises(ValueError, match="needs an encoder"):
        kmmft.models.SequenceRecommender({})
    with pytest.raises(ValueError, match="history_length=0"):
        kmmft.models.SequenceRecommender(model.encoders, history_length=0)
    model.micro_batch_size = 2
    try:
        with pytest.raises(ValueError, match="micro_batch_size=2"):
            model.loss_of_step((*batch(), None), model(batch(False)[0]))
    finally:
        model.micro_batch_size = None


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        ([], "Received: none"),
        ([np.ones(8)], r"one of shape \(8,\)"),
        # It would be taken for a vector of eight equal numbers.
        ([[], np.ones((2, 1))], r"one of shape \(2, 1\)"),
        ([np.full((1, 8), np.nan)], "NaN or infinity"),
    ],
)
def test_histories_are_vectors(model, histories, message):
    with pytest.raises(ValueError, match=message):
        model.encode_users(histories)
