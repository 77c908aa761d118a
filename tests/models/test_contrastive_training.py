"""N replicas and cached gradients train as one device with the whole batch does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.training import global_batch
from tests.models import contrastive_cases as cases

# The losses that the model treats each in its own way, and all others at once.
LOSSES = {
    "rows": cases.Together,
    "symmetric": cases.LOSSES["siglip"],
    "joint": cases.LOSSES["supervised"],
}
# Caching under replicas is the same code for every loss of a kind.
CACHED_REPLICAS = {**LOSSES, "rows": cases.LOSSES["info_nce"]}


@pytest.fixture(scope="module")
def one_device():
    """Losses and weights on one device; made when first asked for."""
    made = {}

    def of(loss=None, **inputs):
        key = (loss, *inputs.items(), keras.config.dtype_policy().name)
        if key not in made:
            made[key] = cases.train(loss=loss and loss(), inputs=cases.batch(**inputs))
        return made[key][1:]

    return of


@pytest.fixture
def strategies(two_replicas, four_replicas):
    return {1: None, 2: two_replicas, 4: four_replicas}


def test_all_losses_are_compared():
    own_ways = len(LOSSES) - 1
    assert len(cases.Together().losses) + own_ways == len(cases.LOSSES)


@pytest.mark.parametrize(("replicas", "micro_batch_size"), [(1, 2), (2, None), (4, 1)])
@pytest.mark.parametrize("kind", LOSSES)
def test_loss_and_weights_equal_one_device(
    kind, replicas, micro_batch_size, one_device, strategies
):
    both = replicas > 1 and micro_batch_size is not None
    make_loss = (CACHED_REPLICAS if both else LOSSES)[kind]
    loss, weights = one_device(make_loss, teacher=True)
    other_loss, other_weights = cases.train(
        strategies[replicas],
        make_loss(),
        inputs=cases.batch(teacher=True),
        micro_batch_size=micro_batch_size,
    )[1:]
    np.testing.assert_allclose(other_loss, loss, atol=1e-5)
    assert cases.largest_difference(other_weights, weights) < 1e-5


def test_the_comparison_sees_negatives_without_gradients(
    one_device, two_replicas, monkeypatch
):
    """A gather that passes no gradients reports the right loss and trains wrongly."""
    loss, weights = one_device()
    gather = global_batch.all_gather
    monkeypatch.setattr(
        global_batch, "all_gather", lambda value: tf.stop_gradient(gather(value))
    )
    other_loss, other_weights = cases.train(two_replicas)[1:]
    assert other_loss[0] == pytest.approx(loss[0], abs=1e-5)
    assert cases.largest_difference(other_weights, weights) > 1e-3


@pytest.mark.parametrize(
    ("dtype", "replicas", "micro_batch_size"),
    [
        ("mixed_float16", 1, 2),
        ("mixed_float16", 2, 2),
        ("mixed_bfloat16", 2, None),
    ],
)
def test_mixed_precision_equals_one_device(
    dtype, replicas, micro_batch_size, one_device, strategies
):
    keras.config.set_dtype_policy(dtype)
    loss, weights = one_device()
    before = [v.numpy() for v in cases.dual_encoder().trainable_variables]
    other_loss, other_weights = cases.train(
        strategies[replicas], micro_batch_size=micro_batch_size
    )[1:]
    np.testing.assert_allclose(other_loss, loss, rtol=1e-3)
    moved = cases.largest_difference(weights, before)
    assert moved > 1e-3
    # Half precision sums a gradient's examples in another order.
    assert cases.largest_difference(other_weights, weights) < 0.02 * moved


@pytest.mark.parametrize(("replicas", "micro_batch_size"), [(1, 2), (2, 2)])
def test_hard_negatives_equal_one_device(
    replicas, micro_batch_size, one_device, strategies
):
    loss, weights = one_device(negatives=3)
    other_loss, other_weights = cases.train(
        strategies[replicas],
        inputs=cases.batch(negatives=3),
        micro_batch_size=micro_batch_size,
    )[1:]
    np.testing.assert_allclose(other_loss, loss, atol=1e-5)
    assert cases.largest_difference(other_weights, weights) < 1e-5
    without = one_device()[0]
    assert loss[0] > without[0] + 0.1


def test_a_teacher_and_hard_negatives_go_together(two_replicas):
    inputs = cases.batch(negatives=3, teacher=True)
    loss, weights = cases.train(loss=cases.LOSSES["distillation"](), inputs=inputs)[1:]
    other_loss, other_weights = cases.train(
        two_replicas, cases.LOSSES["distillation"](), inputs=inputs
    )[1:]
    np.testing.assert_allclose(other_loss, loss, atol=1e-5)
    assert cases.largest_difference(other_weights, weights) < 1e-5


def test_loss_equals_numpy():
    """Independent of all gathering: the loss that the first step logs."""
    model = cases.dual_encoder()
    vectors = model(cases.batch(), training=False)
    image, text = vectors["image"].numpy(), vectors["text"].numpy()
    logits = 5.0 * image @ text.T
    down = logits - np.log(np.exp(logits).sum(0, keepdims=True))
    across = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -(np.diag(down) + np.diag(across)).mean() / 2
    expected += float(sum(model.losses))
    loss = cases.train(groups=None, steps=1)[1]
    assert loss[0] == pytest.approx(expected, abs=1e-5)


def parts_of_dropout_model(model, seeds):
    """Reference: all micro-batches on one tape, with the seeds that they get."""
    inputs, size = cases.batch(), model.micro_batch_size
    with tf.GradientTape() as tape:
        parts = []
        for part in range(cases.BATCH // size):
            rows = slice(part * size, (part + 1) * size)
            seeds.set(part)
            parts.append(
                model({key: x[rows] for key, x in inputs.items()}, training=True)
            )
        vectors = {
            key: tf.concat([part[key] for part in parts], axis=0) for key in parts[0]
        }
        loss = model.loss_function.per_pair(
            list(vectors.values()), cases.GROUPS, logit_scale=model.logit_scale
        )
        loss = tf.reduce_mean(loss) + sum(model.losses)
    return tape.gradient(loss, model.trainable_variables)


def test_cached_gradients_use_the_same_dropout_twice():
    options = {"dropout_rate": 0.5, "micro_batch_size": 2}
    with_dropout = cases.dual_encoder(**options)
    with_dropout.compile(keras.optimizers.SGD(0.05))
    seeds = kmmft.training.DropoutSeeds(with_dropout, step=0)
    gradients = parts_of_dropout_model(with_dropout, seeds)
    before = [v.numpy() for v in with_dropout.trainable_variables]
    after = cases.train(steps=1, optimizer=keras.optimizers.SGD(0.05), **options)[2]
    expected = [
        value - (0.0 if g is None else 0.05 * tf.convert_to_tensor(g).numpy())
        for value, g in zip(before, gradients, strict=True)
    ]
    assert cases.largest_difference(after, expected) < 1e-5
    without = cases.train(
        steps=1, optimizer=keras.optimizers.SGD(0.05), micro_batch_size=2
    )[2]
    assert cases.largest_difference(after, without) > 1e-3


def test_cached_gradients_update_batch_norm_once():
    """Both passes see the same batches; the moving mean counts them once."""
    model = cases.train(steps=1, batch_norm=True, micro_batch_size=4)[0]
    fresh = cases.dual_encoder(batch_norm=True)
    for rows in (slice(0, 4), slice(4, 8)):
        fresh({key: x[rows] for key, x in cases.batch().items()}, training=True)
    for one, other in zip(
        model.non_trainable_variables, fresh.non_trainable_variables, strict=True
    ):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


def test_locked_tower_stays_bit_identical():
    with tf.distribute.get_strategy().scope():
        model = cases.dual_encoder(dropout_rate=0.5, batch_norm=True)
    locked = model.encoders["image"]
    locked.trainable = False
    before = [v.numpy() for v in locked.variables]
    model.compile(keras.optimizers.SGD(0.05))
    head = model.projections["image"].output_projection.kernel
    old_head = head.numpy()
    data = tf.data.Dataset.from_tensors((cases.batch(), cases.GROUPS))
    model.fit(data, verbose=0)
    for old, new in zip(before, locked.variables, strict=True):
        if new.name != "seed_generator_state":
            np.testing.assert_array_equal(old, new.numpy())
    assert np.abs(head.numpy() - old_head).max() > 0


def test_logit_scale_is_clamped():
    model = cases.dual_encoder(max_logit_scale=6.0)
    model.compile(keras.optimizers.SGD(1e-6))
    for start, end in [(3.0, 3.0), (9.0, 6.0)]:
        model.logit_scale_layer.log_scale.assign(np.log(start))
        model.fit(tf.data.Dataset.from_tensors(cases.batch()), verbose=0)
        assert float(model.logit_scale) == pytest.approx(end, rel=1e-4)


def test_evaluate_reports_the_loss_of_the_batch(two_replicas):
    model = cases.train(two_replicas, steps=1)[0]
    data = tf.data.Dataset.from_tensors((cases.batch(), cases.GROUPS))
    vectors = model(cases.batch(), training=False)
    expected = model.loss_function.per_pair(
        list(vectors.values()), cases.GROUPS, logit_scale=model.logit_scale
    ).numpy().mean() + float(sum(model.losses))
    logs = model.evaluate(data, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(expected, abs=1e-5)


def test_micro_batch_size_must_divide():
    with pytest.raises(ValueError, match="micro_batch_size=3 for a batch of 8"):
        cases.train(micro_batch_size=3)


def test_batch_must_divide_by_the_replicas(four_replicas):
    inputs = {key: value[:6] for key, value in cases.batch().items()}
    with pytest.raises(ValueError, match="must divide by the number of replicas"):
        cases.train(four_replicas, inputs=inputs, groups=None)
