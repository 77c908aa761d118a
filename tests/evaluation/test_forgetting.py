import json

import keras
import keras_hub
import numpy as np
import pytest

import kmmft
from kmmft.evaluation import ForgettingMeter
from kmmft.finetuning import LoRA, Plan, Rule, named_variables

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")


def small_model(dtype="float32"):
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, name="body", dtype=dtype),
            keras.layers.Dense(2, name="head", dtype=dtype),
        ]
    )


def mean_output(model):
    return {"mean": np.mean(model(X))}


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_drift_is_the_change_over_the_norm(dtype):
    model = small_model(dtype)
    body, head = model.layers
    body.set_weights([np.full((3, 4), 0.5), np.zeros(4)])
    head.set_weights([np.ones((4, 2)), np.ones(2)])
    meter = ForgettingMeter(model, batch=X)
    meter.start()
    head.bias.assign([1.0, 4.0])
    found = meter.finish()
    # The head's norm was the root of 10; the body's, the root of 3.
    assert found.layers["head"][0] == pytest.approx(3 / 10**0.5)
    assert found.drift == pytest.approx(3 / 13**0.5)
    assert found.layers["body"] == (0.0, pytest.approx(1.0))
    # A shift of the outputs is nothing that CKA sees.
    assert found.layers["head"][1] == pytest.approx(1.0, abs=1e-3)
    body.bias.assign(np.ones(4))
    assert meter.finish().layers["body"][0] == pytest.approx(2 / 3**0.5)


def test_frozen_layers_do_not_move_in_training(two_replicas):
    with two_replicas.scope():
        model = small_model()
        model.layers[0].trainable = False
        model.compile("sgd", "mse")
    meter = ForgettingMeter(model, {"model": mean_output}, batch=X)
    meter.start()
    before = mean_output(model)["mean"]
    model.fit(X, np.arange(16.0).reshape(8, 2), batch_size=4, verbose=0)
    found = meter.finish()
    assert found.layers["body"] == (0.0, pytest.approx(1.0))
    assert found.layers["head"][0] > 0.01
    assert found.before == {"model/mean": pytest.approx(before)}
    after = mean_output(model)["mean"]
    metrics = found.metrics()
    assert metrics["forgetting/difference/model/mean"] == pytest.approx(after - before)
    assert metrics["forgetting/drift/head"] == found.layers["head"][0]


def test_lora_changes_outputs_first_and_weights_when_merged():
    model = keras_hub.models.BertBackbone(11, 2, 2, 8, 16)
    ids = np.random.default_rng(0).integers(1, 11, (6, 5))
    batch = {
        "token_ids": ids,
        "segment_ids": np.zeros_like(ids),
        "padding_mask": np.ones_like(ids),
    }
    meter = ForgettingMeter(model, batch=batch)
    meter.start()
    Plan([Rule("*", adapter=LoRA(rank=2))]).apply(model)
    found = meter.finish()
    assert found.drift == 0.0 and found.new_weights
    assert found.layers["transformer_layer_0"][1] == pytest.approx(1.0)
    random = np.random.default_rng(1)
    variables = named_variables(model)
    for path in found.new_weights:
        if path.startswith("transformer_layer_1"):
            variables[path].assign(random.normal(size=variables[path].shape))
    found = meter.finish()
    assert found.drift == 0.0
    assert found.layers["transformer_layer_0"][1] == pytest.approx(1.0)
    assert found.layers["transformer_layer_1"][1] < 0.999
    kmmft.finetuning.merge_adapters(model)
    merged = meter.finish()
    assert merged.layers["transformer_layer_0"][0] == 0.0
    assert merged.layers["transformer_layer_1"][0] > 0.1
    assert merged.layers["transformer_layer_1"][1] == pytest.approx(
        found.layers["transformer_layer_1"][1], abs=1e-4
    )


def test_batch_norm_statistics_are_no_drift():
    model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization()])
    meter = ForgettingMeter(model)
    meter.start()
    model(X, training=True)
    assert meter.finish().drift == 0.0


def test_a_killed_run_compares_with_its_true_start(tmp_path):
    model = small_model()
    probes = {"model": mean_output}
    ForgettingMeter(model, probes, batch=X, directory=tmp_path).start()
    start = mean_output(model)["mean"]
    model.layers[1].kernel.assign(model.layers[1].kernel * 3)
    again = ForgettingMeter(model, probes, batch=X, directory=tmp_path)
    again.start()
    found = again.finish()
    bias = np.linalg.norm(model.layers[1].bias)
    assert bias == 0 and found.layers["head"][0] == pytest.approx(2.0)
    assert found.before["model/mean"] == pytest.approx(start)
    assert [path.name for path in tmp_path.iterdir()] == ["forgetting_start.npz"]
    for other in (
        ForgettingMeter(model, probes, batch=X + 1, directory=tmp_path),
        ForgettingMeter(model, {}, batch=X, directory=tmp_path),
        ForgettingMeter(model, probes, batch=X, layers="head", directory=tmp_path),
    ):
        with pytest.raises(ValueError, match="same probes, batch and layers"):
            other.start()


def test_constant_outputs_are_not_known():
    model = small_model()
    meter = ForgettingMeter(model, batch=np.ones((4, 3), "float32"))
    meter.start()
    found = meter.finish()
    assert found.layers == {"body": (0.0, None), "head": (0.0, None)}
    assert json.loads(json.dumps(found.metrics(), allow_nan=False))


def test_report_has_scores_layers_and_a_chart(tmp_path):
    model = small_model()
    meter = ForgettingMeter(model, {"old": mean_output}, batch=X)
    meter.start()
    model.layers[1].kernel.assign(model.layers[1].kernel * 2)
    found = meter.finish()
    kmmft.evaluation.write_report(
        tmp_path / "report.html",
        title="Forgetting",
        metrics=found.metrics(),
        history={},
        examples=[],
        confusion=None,
        config={},
        tables=found.tables(),
        sections=[found.section()],
    )
    page = (tmp_path / "report.html").read_text()
    for text in ("old mean", "head", "relative drift of weights", "<svg"):
        assert text in page
    assert "moved furthest: 100.00%" in page


def gone(meter):
    meter.start()
    meter._start.weights["old/kernel"] = np.ones(2)
    meter.finish()


@pytest.mark.parametrize(
    "arguments, use, message",
    [
        ({}, ForgettingMeter.finish, "no start"),
        ({"probes": {"a": 3}}, None, "function of the model.*'a'"),
        ({"probes": {"a": lambda m: 0.5}}, ForgettingMeter.start, "dict of numbers"),
        ({"probes": {"a": lambda m: {}}}, ForgettingMeter.start, "dict of numbers"),
        ({"batch": X[:2]}, None, r"3 or more.*\[2\]"),
        ({"layers": "boddy"}, None, "'boddy'.*body"),
        ({}, gone, "gone or changed.*old/kernel"),
    ],
)
def test_misuse_is_named(arguments, use, message):
    with pytest.raises(ValueError, match=message):
        use(ForgettingMeter(small_model(), **arguments))
