"""What `DistributedTraining` mends, and that stock Keras still needs the mending."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft


class Mended(kmmft.training.DistributedTraining, keras.Model):
    pass


RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 4)).astype("float32")
X[4:] += 3.0
Y = RNG.normal(size=(8, 1)).astype("float32")


class Recorder(keras.layers.Layer):
    """Keeps what passes through, one copy on each replica."""

    def build(self, shape):
        self.seen = self.add_weight(
            shape=(4, shape[-1]), trainable=False, initializer="zeros", name="seen"
        )

    def call(self, inputs):
        self.seen.assign(inputs)
        return inputs


def fit(
    model_class,
    strategy=None,
    *,
    middle=(),
    optimizer=None,
    micro_batch_size=None,
    steps=2,
    x=X,
    y=Y,
    **compile_options,
):
    keras.utils.set_random_seed(1)
    with (strategy or tf.distribute.get_strategy()).scope():
        inputs = keras.Input((4,))
        h = keras.layers.Dense(6)(inputs)
        for layer in middle:
            h = layer()(h)
        outputs = keras.layers.Dense(1, kernel_regularizer="l2")(h)
        model = model_class(inputs, outputs)
        model.micro_batch_size = micro_batch_size
        optimizer = optimizer() if optimizer else keras.optimizers.SGD(0.1)
        model.compile(optimizer, "mse", **compile_options)
    data = tf.data.Dataset.from_tensors((x, y)).repeat(steps)
    history = model.fit(data, epochs=1, verbose=0)
    return model, history.history, [v.numpy() for v in model.trainable_variables]


def difference(weights, others):
    pairs = zip(weights, others, strict=True)
    return max(np.abs(a - b).max() for a, b in pairs)


def clipping():
    return keras.optimizers.SGD(0.1, global_clipnorm=0.5)


def accumulating():
    return keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)


def small_loss_scale():
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), 64)


CASES = {
    "plain": {},
    "clipping": {"optimizer": clipping},
    "batch_norm": {"middle": [keras.layers.BatchNormalization]},
    "float16": {"dtype": "mixed_float16"},
}


def run(case, model_class=Mended, strategy=None, **options):
    case = dict(CASES[case])
    keras.config.set_dtype_policy(case.pop("dtype", "float32"))
    return fit(model_class, strategy, **case, **options)


@pytest.mark.parametrize("case", CASES)
def test_replicas_equal_one_device(case, two_replicas):
    _, logs, weights = run(case)
    _, other_logs, other_weights = run(case, strategy=two_replicas)
    tolerance = 2e-3 if case == "float16" else 1e-5
    assert difference(weights, other_weights) < tolerance
    assert other_logs["loss"][0] == pytest.approx(logs["loss"][0], rel=tolerance)


def test_one_device_equals_stock_keras():
    _, logs, weights = run("clipping", metrics=["mae"])
    _, stock_logs, stock_weights = run("clipping", keras.Model, metrics=["mae"])
    assert difference(weights, stock_weights) < 1e-6
    for name, values in logs.items():
        assert stock_logs[name] == pytest.approx(values, rel=1e-6)


@pytest.mark.parametrize("case", ["clipping", "batch_norm"])
def test_stock_keras_still_differs(case, two_replicas):
    """Fails when Keras mends this: then delete ours."""
    weights = run(case, keras.Model)[2]
    other_weights = run(case, keras.Model, two_replicas)[2]
    assert difference(weights, other_weights) > 1e-3


def test_batch_norm_statistics_are_the_global_batchs(two_replicas):
    model = run("batch_norm")[0]
    other = run("batch_norm", strategy=two_replicas)[0]
    for one, two in zip(
        model.non_trainable_variables, other.non_trainable_variables, strict=True
    ):
        for copy in two_replicas.experimental_local_results(two.value):
            np.testing.assert_allclose(copy.numpy(), one.numpy(), atol=1e-5)


def masks(model_class, strategy):
    """What dropout lets through of ones on each replica."""
    x = np.ones((8, 4), "float32")
    middle = [
        lambda: keras.layers.Rescaling(0.0, 1.0),
        lambda: keras.layers.Dropout(0.5),
        Recorder,
    ]
    model = fit(model_class, strategy, middle=middle, x=x, steps=1)[0]
    (seen,) = (layer.seen for layer in model.layers if isinstance(layer, Recorder))
    return [part.numpy() for part in strategy.experimental_local_results(seen.value)]


def test_each_replica_drops_its_own_units(two_replicas):
    first, second = masks(Mended, two_replicas)
    assert set(np.unique(first)) == {0.0, 2.0}
    assert not np.array_equal(first, second)


def test_stock_keras_still_drops_the_same_units(two_replicas):
    """Fails when Keras mends this: then delete ours."""
    first, second = masks(keras.Model, two_replicas)
    np.testing.assert_array_equal(first, second)


def test_dropout_differs_from_step_to_step_and_comes_again_with_the_step():
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dropout(0.5)])

    def mask(step, part=0):
        kmmft.training.DropoutSeeds(model, step).set(part)
        return model(np.ones((1, 64)), training=True).numpy()

    np.testing.assert_array_equal(mask(3), mask(3))
    assert not np.array_equal(mask(3), mask(4))
    assert not np.array_equal(mask(3), mask(3, part=1))


@pytest.mark.parametrize("replicas", [1, 2])
def test_micro_batches_equal_the_whole_batch(replicas, two_replicas):
    strategy = two_replicas if replicas == 2 else None
    _, logs, weights = run("clipping", metrics=["mae"])
    _, other_logs, other_weights = run(
        "clipping", strategy=strategy, micro_batch_size=2, metrics=["mae"]
    )
    assert difference(weights, other_weights) < 1e-5
    for name, values in logs.items():
        assert other_logs[name] == pytest.approx(values, rel=1e-5)


@pytest.mark.parametrize("replicas", [1, 2])
def test_accumulation_is_refused(replicas, two_replicas):
    strategy = two_replicas if replicas == 2 else None
    with pytest.raises(ValueError, match="Set the model's `micro_batch_size`"):
        fit(Mended, strategy, optimizer=accumulating)


def test_batch_norm_in_micro_batches_is_refused_on_replicas(two_replicas):
    with pytest.raises(ValueError, match="BatchNorm cannot train in micro-batches"):
        run("batch_norm", strategy=two_replicas, micro_batch_size=2)
    frozen = {"middle": [lambda: keras.layers.BatchNormalization(trainable=False)]}
    weights = fit(Mended, **frozen)[2]
    others = fit(Mended, two_replicas, micro_batch_size=2, **frozen)[2]
    assert difference(weights, others) < 1e-5


def test_stock_keras_still_cannot_accumulate_on_replicas(two_replicas):
    """Fails when Keras mends this: then delete the refusal."""
    with pytest.raises(RuntimeError, match="merge_call"):
        fit(keras.Model, two_replicas, optimizer=accumulating)


def test_uneven_batch_is_refused(two_replicas):
    with pytest.raises(ValueError, match=r"parts of \[4, 3\] examples on 2 replicas"):
        fit(Mended, two_replicas, x=X[:7], y=Y[:7])


def test_evaluation_takes_uneven_batches(two_replicas):
    model = fit(Mended, two_replicas)[0]
    data = tf.data.Dataset.from_tensors((X[:7], Y[:7]))
    assert np.isfinite(model.evaluate(data, verbose=0))


def overflow_on_second_replica(model_class, strategy):
    keras.config.set_dtype_policy("mixed_float16")
    x = X.copy()
    x[7] = np.inf
    model, _, weights = fit(
        model_class, strategy, x=x, steps=1, optimizer=small_loss_scale
    )
    return weights, float(model.optimizer.dynamic_scale.numpy())


def test_overflow_on_one_replica_stops_the_step_on_all(two_replicas):
    weights, scale = overflow_on_second_replica(Mended, two_replicas)
    _, _, moved = fit(Mended, two_replicas, optimizer=small_loss_scale, steps=1)
    assert all(np.isfinite(weight).all() for weight in weights)
    assert scale == 32
    assert difference(weights, moved) > 1e-3


def test_stock_keras_still_overlooks_the_second_replica(two_replicas):
    """Fails when Keras mends this: then delete ours."""
    weights, scale = overflow_on_second_replica(keras.Model, two_replicas)
    assert scale == 64
    assert not all(np.isfinite(weight).all() for weight in weights)


@pytest.mark.parametrize(
    ("model_class", "traces"), [(Mended, 1), (keras.Model, 2)], ids=["ours", "keras"]
)
def test_step_on_one_device_is_traced_once(model_class, traces):
    """Keras' own fails when Keras mends this: then delete ours."""
    seen = []

    class Counted(model_class):
        def train_step(self, data):
            seen.append(data)
            return super().train_step(data)

    fit(Counted, optimizer=lambda: keras.optimizers.SGD(0.1, momentum=0.9))
    assert len(seen) == traces


def test_private_methods_of_keras_are_still_there():
    """The mixin overrides these; without them it would silently do nothing."""
    assert hasattr(keras.Model, "_maybe_symbolic_build")
    assert hasattr(keras.optimizers.Optimizer, "_all_reduce_sum_gradients")
    dropout = keras.layers.Dropout(0.5)
    assert [v.name for v in dropout.variables] == ["seed_generator_state"]
