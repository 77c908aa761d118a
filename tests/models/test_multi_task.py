"""Tasks that share encoders train together as their losses' sum says."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from tests.models import multi_task_cases as cases
from tests.models.contrastive_cases import largest_difference

TWO = ("tags", "age")


def test_shared_weights_are_there_once():
    model = cases.make_model()
    tasks = model.tasks.values()
    counts = collections.Counter(id(v) for task in tasks for v in task.weights)
    assert len(model.weights) == len(counts) < sum(counts.values())
    image = model.tasks["tags"].encoders["image"]
    assert image is model.tasks["retrieval"].encoders["image"]
    paths = kmmft.finetuning.named_variables(model)
    assert set(map(id, paths.values())) == set(map(id, model.weights))
    assert {path.split("/")[0] for path in paths} == {
        *("image_encoder", "text_encoder"),
        *("tags", "age", "retrieval"),
    }
    assert "tags/logits/kernel" in paths


@pytest.mark.parametrize("factors", [(1.0, 1.0), (2.0, 0.3)])
def test_updates_are_those_of_the_weighted_sum(factors):
    """A shared weight has one update a step; its penalty counts once."""
    losses, weights = cases.reference(TWO, 3, lambda: np.array(factors))
    given = dict(zip(TWO, factors, strict=True))
    _, history, trained = cases.train(names=TWO, loss_weights=given)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    assert largest_difference(trained, weights) < 1e-5


def test_a_tasks_logs_are_its_own():
    _, history, _ = cases.train(steps=1)
    assert set(history) == {
        *("loss", "tags_loss", "tags_accuracy", "age_loss", "age_mae"),
        *("retrieval_loss", "retrieval_logit_scale"),
    }
    fresh = cases.make_model()
    part = cases.batch()["tags"]
    expected = cases.supervised_loss(fresh.tasks["tags"], part)
    expected += cases.penalty_of(fresh)[1]
    assert history["tags_loss"][0] == pytest.approx(float(expected), rel=1e-5)


def test_words_count_alike_as_in_a_writers_own_training():
    """Padding of short texts must not make a writer's loss smaller."""
    words = tf.constant([[2, 5, 3, 0, 0], [2, 5, 6, 5, 3]])
    weights = tf.cast(words > 0, tf.float32)
    inputs = {
        "image": cases.batch("tags")["tags"][0]["image"][:2],
        "target_token_ids": words[:, :-1],
        "target_padding_mask": words[:, :-1] > 0,
    }
    part = inputs, words[:, 1:], weights[:, 1:]

    def trained(alone):
        models = cases.make_models("tags", "writing")
        model = models["writing"]
        if not alone:
            model = kmmft.models.MultiTask(models)
        model.compile(kmmft.training.SGD(0.05))
        batch = part if alone else {"writing": part, **cases.batch("tags")}
        data = tf.data.Dataset.from_tensors(batch)
        losses = model.fit(data, verbose=0).history
        decoder = models["writing"].decoder.trainable_variables
        return losses, [v.numpy() for v in decoder]

    (alone, weights_alone), (joint, weights_joint) = trained(True), trained(False)
    assert joint["writing_loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert largest_difference(weights_joint, weights_alone) < 1e-6


def test_turns_are_updates_of_one_task_after_the_other():
    _, history, weights = cases.train(
        names=("tags", "retrieval"), in_turns=True, steps=2
    )
    models = cases.make_models("tags", "retrieval")
    parts = cases.batch("tags", "retrieval")
    every = {id(v): v for task in models.values() for v in task.trainable_variables}
    optimizer = kmmft.training.SGD(0.05, momentum=0.9)
    optimizer.build(list(every.values()))
    for task in models.values():
        task.compile(optimizer)
    losses = []
    for _ in range(2):
        for name, task in models.items():
            data = tf.data.Dataset.from_tensors(parts[name])
            losses += task.fit(data, verbose=0).history["loss"]
    expected = {v.path: v.numpy() for v in every.values()}
    assert int(optimizer.iterations) == 4
    np.testing.assert_allclose(
        [*history["tags_loss"], *history["retrieval_loss"]],
        [losses[0], losses[2], losses[1], losses[3]],
        rtol=1e-5,
    )
    for value, other in zip(weights, expected.values(), strict=True):
        np.testing.assert_allclose(value, other, atol=1e-6)


def test_a_shared_layer_drops_other_units_for_each_task():
    def losses(dropout_rate):
        models = cases.make_models("tags", dropout_rate=dropout_rate)
        first = models["tags"]
        second = kmmft.models.FusionClassifier(
            first.encoders, None, ["red", "green", "blue"]
        )
        second.get_layer("logits").set_weights(first.get_layer("logits").get_weights())
        model = kmmft.models.MultiTask({"one": first, "other": second})
        model.compile("sgd")
        part = cases.batch("tags")["tags"]
        data = tf.data.Dataset.from_tensors({"one": part, "other": part})
        history = model.fit(data, verbose=0).history
        return history["one_loss"][0], history["other_loss"][0]

    one, other = losses(0.0)
    assert one == other
    one, other = losses(0.5)
    assert one != pytest.approx(other, rel=1e-3)


def test_a_locked_encoder_stays_as_it_is():
    def lock(model):
        model.tasks["tags"].encoders["image"].trainable = False

    model, _, _ = cases.train(names=TWO, prepare=lock, project_conflicts=True, steps=1)
    fresh = cases.make_model(*TWO)
    for name, changes in (("image", False), ("text", True)):
        after = model.tasks["age"].encoders[name].get_weights()
        before = fresh.tasks["age"].encoders[name].get_weights()
        pairs = zip(after, before, strict=True)
        assert any((one != other).any() for one, other in pairs) == changes


def one_task_missing():
    model = cases.make_model(*TWO)
    model.compile("sgd")
    model.fit(tf.data.Dataset.from_tensors(cases.batch("tags")), verbose=0)


def set_options(model):
    model.micro_batch_size = 2


def apart():
    return {**cases.make_models("tags"), "age": cases.make_models("age")["age"]}


def alike():
    one, other = (cases.make_models(*TWO) for _ in range(2))
    other["more"] = one["tags"]
    other["again"] = one["age"]
    return other


BAD = {
    "two tasks or more": lambda: kmmft.models.MultiTask(cases.make_models("tags")),
    "must share weights": lambda: kmmft.models.MultiTask(apart()),
    "must have different names": lambda: kmmft.models.MultiTask(alike()),
    "must be kmmft's": lambda: kmmft.models.MultiTask(
        {**cases.make_models("tags"), "age": keras.Sequential()}
    ),
    "nothing to weigh": lambda: cases.make_model(
        in_turns=True, loss_weights={"age": 1}
    ),
    "must be positive": lambda: cases.make_model(loss_weights={"age": 0.0}),
    r"Received: \['ages'\]": lambda: cases.make_model(loss_weights={"ages": 1.0}),
    r"tasks \['tags', 'age'\]. Received: \['tags'\]": one_task_missing,
    r"Received: \['tag'\]": lambda: cases.make_model().compile("sgd", {"tag": "mse"}),
    "are the tasks' own": lambda: cases.train(prepare=set_options),
    "such weights are": lambda: cases.train(
        loss_weights=kmmft.models.GradNorm(pattern="text_encoder/*")
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_errors(message):
    with pytest.raises(ValueError, match=f"(?i){message}"):
        BAD[message]()
