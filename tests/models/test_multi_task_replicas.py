"""Several tasks train alike on replicas, in micro-batches and in half precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from tests.models import multi_task_cases as cases
from tests.models.contrastive_cases import largest_difference

TWO = ("tags", "age")
WAYS = {
    "uncertainty": lambda: {
        "loss_weights": kmmft.models.UncertaintyWeights(),
        "project_conflicts": True,
        "seed": -(2**40),
    },
    "grad_norm": lambda: {"loss_weights": kmmft.models.GradNorm(learning_rate=0.1)},
    "in_turns": lambda: {"in_turns": True},
    "cached": lambda: {"loss_weights": {"age": 0.5}, "prepare": cache_gradients},
}


def cache_gradients(model):
    for task in model.tasks.values():
        task.micro_batch_size = 2


@pytest.mark.parametrize("way", WAYS)
def test_replicas_equal_one_device(way, two_replicas):
    options = {"names": ("age", "retrieval"), "steps": 2}
    here, there = WAYS[way](), WAYS[way]()
    # Micro-batches on two replicas equal the whole batch on one device.
    here.pop("prepare", None)
    _, history, weights = cases.train(**options, **here)
    model, other, other_weights = cases.train(two_replicas, **options, **there)
    for name in ("loss", "age_loss", "retrieval_loss"):
        np.testing.assert_allclose(other[name], history[name], rtol=1e-4)
    assert largest_difference(weights, other_weights) < 1e-5
    for weight in model.loss_weights.weights:
        copies = two_replicas.experimental_local_results(weight.value)
        np.testing.assert_array_equal(*(copy.numpy() for copy in copies))


@pytest.mark.parametrize("kind", ["UncertaintyWeights", "GradNorm"])
def test_float16_trains_as_float32(kind):
    def train(scale):
        optimizer = kmmft.training.SGD(0.05)
        return cases.train(
            names=TWO,
            loss_weights=getattr(kmmft.models, kind)(),
            project_conflicts=True,
            steps=2,
            optimizer=scale(optimizer),
        )

    before = [v.numpy() for v in cases.make_model(*TWO).trainable_variables]
    plain, _, expected = train(lambda optimizer: optimizer)
    keras.config.set_dtype_policy("mixed_float16")
    model, _, found = train(lambda x: keras.optimizers.LossScaleOptimizer(x, 64))
    assert model.dtype_policy.name == "mixed_float16"
    number = len(before)
    assert largest_difference(found, expected) < 0.02 * largest_difference(
        expected[:number], before
    )
    np.testing.assert_allclose(
        model.loss_weights.factors(), plain.loss_weights.factors(), rtol=1e-3
    )


def test_replicas_need_even_parts(two_replicas):
    with two_replicas.scope():
        model = cases.make_model(*TWO)
        model.compile("sgd")
    inputs, labels = cases.batch("tags")["tags"]
    odd = {"image": inputs["image"][:3]}, labels[:3]
    data = tf.data.Dataset.from_tensors({**cases.batch("age"), "tags": odd})
    with pytest.raises(ValueError, match="multiple_of=2"):
        model.fit(data, verbose=0)
