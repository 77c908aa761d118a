"""BatchNorm's statistics as means over batches, against PyTorch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmmft.finetuning import update_batch_norm, weight_values
from tests.finetuning.plan_cases import X, Y, make_model

ROWS = np.sin(np.arange(48.0).reshape(12, 4)) * [1.0, 2.0, 3.0, 4.0]
# Running means and variances by PyTorch 2.14, of this script:
#   x = torch.sin(torch.arange(48.0).reshape(12, 4)) * torch.arange(1.0, 5.0)
#   net = Sequential(BatchNorm1d(4), Linear(4, 2), ReLU(), BatchNorm1d(2)), with the
#   weights that `norm_model` sets; torch.optim.swa_utils.update_bn(x.split(4), net)
PYTORCH = {
    "first": (
        [0.000735, 0.14046, 0.225469, 0.043937],
        [0.604821, 2.491004, 5.628194, 9.684121],
    ),
    "second": ([1.330277, 0.557795], [3.721684, 0.449483]),
}
# The same for x[0:5], x[5:10], x[10:12]: batches count alike, whatever their size.
PYTORCH_UNEVEN_MEANS = {
    "first": [0.076869, 0.250824, 0.175955, -0.248131],
    "second": [1.217047, 0.567937],
}


def norm_model():
    inputs = keras.Input((4,))
    first = keras.layers.BatchNormalization(epsilon=1e-5, name="first")
    dense = keras.layers.Dense(2, activation="relu", name="dense")
    second = keras.layers.BatchNormalization(epsilon=1e-5, name="second")
    model = keras.Model(inputs, second(dense(first(inputs))))
    first.gamma.assign([1.0, 2.0, 0.5, 1.5])
    first.beta.assign([0.1, -0.2, 0.3, 0.0])
    kernel = [[0.5, -1.0, 0.25, 1.0], [1.0, 0.5, -0.5, 0.75]]
    dense.kernel.assign(np.transpose(kernel))
    dense.bias.assign([0.2, 0.4])
    for norm in (first, second):
        norm.moving_mean.assign(np.full(norm.moving_mean.shape, 7.0))
        norm.moving_variance.assign(np.full(norm.moving_mean.shape, 9.0))
    return model


def assert_statistics(model, layer, mean, variance=None):
    norm = model.get_layer(layer)
    np.testing.assert_allclose(norm.moving_mean.numpy(), mean, atol=2e-5)
    if variance is not None:
        np.testing.assert_allclose(norm.moving_variance.numpy(), variance, rtol=2e-5)


def test_statistics_are_those_of_pytorch():
    model = norm_model()
    before = weight_values(model)
    assert update_batch_norm(model, np.split(ROWS, 3)) == 2
    for layer, (mean, variance) in PYTORCH.items():
        # PyTorch keeps the unbiased variance of a batch, Keras the biased one.
        assert_statistics(model, layer, mean, np.array(variance) * 3 / 4)
    for path, value in weight_values(model).items():
        if "moving" not in path:
            np.testing.assert_array_equal(value, before[path])
    assert model.get_layer("first").momentum == 0.99


def test_batches_count_alike():
    model = norm_model()
    dataset = tf.data.Dataset.from_generator(
        lambda: iter((ROWS[0:5], ROWS[5:10], ROWS[10:12])),
        output_signature=tf.TensorSpec((None, 4), tf.float64),
    )
    update_batch_norm(model, dataset.map(lambda x: (x, tf.zeros(1))))
    for layer, mean in PYTORCH_UNEVEN_MEANS.items():
        assert_statistics(model, layer, mean)


def test_statistics_on_two_replicas(two_replicas):
    with two_replicas.scope():
        model = norm_model()
    for norm in ("first", "second"):
        model.get_layer(norm).synchronized = True
    # Inside of the scope, as in a recipe, and outside.
    update_batch_norm(model, np.split(ROWS, 3))
    with two_replicas.scope():
        update_batch_norm(model, np.split(ROWS, 3))
    for layer, (mean, variance) in PYTORCH.items():
        assert_statistics(model, layer, mean, np.array(variance) * 3 / 4)
        value = model.get_layer(layer).moving_mean.value
        for copy in two_replicas.experimental_local_results(value):
            np.testing.assert_allclose(copy.numpy(), mean, atol=2e-5)


def test_frozen_norms_and_seeds_rest():
    keras.config.set_dtype_policy("mixed_float16")
    inputs = keras.Input((4,))
    x = keras.layers.BatchNormalization(name="frozen", trainable=False)(inputs)
    drop = keras.layers.Dropout(0.5, name="drop")
    norm = keras.layers.BatchNormalization(name="norm")
    model = keras.Model(inputs, drop(norm(x)))
    seed = drop.seed_generator.state.numpy()
    assert update_batch_norm(model, np.split(ROWS, 3)) == 1
    np.testing.assert_array_equal(drop.seed_generator.state.numpy(), seed)
    assert_statistics(model, "frozen", np.zeros(4), np.ones(4))
    batches = np.split(ROWS / np.sqrt(1.001), 3)
    means = np.mean([batch.mean(0) for batch in batches], axis=0)
    np.testing.assert_allclose(norm.moving_mean.numpy(), means, atol=2e-3)


def test_the_train_step_keeps_its_momentum():
    inputs = keras.Input((4,))
    norm = keras.layers.BatchNormalization(momentum=0.5)
    model = keras.Model(inputs, keras.layers.Dense(1)(norm(inputs)))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    update_batch_norm(model, [X])
    np.testing.assert_allclose(norm.moving_mean.numpy(), X.mean(0), atol=1e-6)
    model.fit(X + 1, Y, batch_size=8, shuffle=False, verbose=0)
    np.testing.assert_allclose(norm.moving_mean.numpy(), X.mean(0) + 0.5, atol=1e-6)


def test_without_norms_no_data_is_read():
    assert update_batch_norm(make_model(), iter(())) == 0


def failing():
    yield ROWS
    raise RuntimeError


@pytest.mark.parametrize(
    ("dataset", "steps", "error", "match"),
    [
        ([], None, ValueError, "no batch"),
        (tf.data.Dataset.from_tensors(ROWS).repeat(), None, ValueError, "without end"),
        ([ROWS], 0, ValueError, "`steps` must be at least 1"),
        (failing(), None, RuntimeError, None),
    ],
)
def test_after_an_error_statistics_are_as_they_were(dataset, steps, error, match):
    model = norm_model()
    with pytest.raises(error, match=match):
        update_batch_norm(model, dataset, steps)
    assert_statistics(model, "first", np.full(4, 7.0), np.full(4, 9.0))
    assert model.get_layer("first").momentum == 0.99


def test_steps_end_an_endless_dataset():
    model = norm_model()
    endless = tf.data.Dataset.from_tensor_slices(ROWS).batch(4).repeat()
    update_batch_norm(model, endless, steps=3)
    assert_statistics(model, "second", PYTORCH["second"][0])


def test_renorm_is_an_error():
    norm = keras.layers.BatchNormalization(renorm=True, name="renormed")
    model = keras.Sequential([keras.Input((4,)), norm])
    with pytest.raises(ValueError, match="renormed"):
        update_batch_norm(model, [ROWS])
