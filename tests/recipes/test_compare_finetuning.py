import dataclasses
import functools
import json

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from recipes import compare_finetuning as recipe
from recipes.comparisons import data, finetuning_methods, finetuning_run


@pytest.fixture(autouse=True)
def without_tracing():
    """Runs few steps at once: tracing them takes ten times as long."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


SMOKE = recipe.PRESETS["smoke"]


@pytest.fixture
def tiny_encoder(monkeypatch):
    """Stands in for the pretrained encoder, as the same one in each run."""

    def image_encoder(handle, image_size, **kwargs):
        shape = (image_size, image_size, 3)
        backbone = keras_hub.models.ViTBackbone(shape, image_size // 4, 1, 2, 16, 16)
        random = np.random.default_rng(0)
        for weight in backbone.weights:
            weight.assign(0.3 * random.normal(size=weight.shape))
        return kmmft.encoders.ImageEncoder(backbone, **kwargs)

    monkeypatch.setattr(kmmft.encoders.ImageEncoder, "from_preset", image_encoder)


@pytest.mark.slow
def test_smoke_preset_goes_on_and_reports(tiny_encoder, tmp_path, monkeypatch):
    config = dataclasses.replace(
        SMOKE, output_dir=str(tmp_path), methods="linear_probe,full", steps=4
    )
    run_method, calls = finetuning_run.run_method, []

    def killed(*args, **point):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(point)
        return run_method(*args, **point)

    monkeypatch.setattr(finetuning_run, "run_method", killed)
    with pytest.raises(KeyboardInterrupt):
        recipe.main(config)
    monkeypatch.setattr(finetuning_run, "run_method", run_method)
    metrics = recipe.main(config)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    # Two methods, two rates with the first seed, and one more seed.
    assert len(list((tmp_path / "runs").iterdir())) == 6
    page = (tmp_path / "report.html").read_text()
    assert "4 labels a class" in page and "linear probe" in page and "vs full" in page
    # Seed by seed the same examples, so the mean gain is the difference of the means.
    gain = metrics["linear_probe/4_labels/test_accuracy_gain"]
    assert gain == pytest.approx(
        metrics["linear_probe/4_labels/test_accuracy"]
        - metrics["full/4_labels/test_accuracy"]
    )
    head = (16 + 1) * 6
    assert metrics["linear_probe/4_labels/trained_weights"] == head
    assert metrics["full/4_labels/trained_weights"] > 10 * head
    # A frozen encoder forgets nothing.
    assert metrics["linear_probe/4_labels/other_accuracy"] == metrics["other_before"]


HEAD = (16 + 1) * 3
# What trains of the tiny encoder, by hand; with the other methods all of it.
TRAINED = {
    "linear_probe": 0,
    # Rank 8: the patches' kernel, 17 places, attention and feed-forward.
    "lora": 8 * ((8 * 8 * 3 + 16) + (17 + 16) + 4 * (16 + 16) + 2 * (16 + 16)),
    # Width 64, after attention and feed-forward.
    "adapters": 2 * (16 * 64 + 64 + 64 * 16 + 16),
    # Of patches, attention, feed-forward and three norms.
    "bitfit": 16 * (1 + 4 + 2 + 3),
}


FEW_STEPS = dataclasses.replace(SMOKE, steps=2, batch_size=4, strength=0.0)


def noise():
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, (12, 32, 32, 3)).astype("float32")
    return kmmft.data.Examples({"image": images}, np.arange(12) % 3)


@functools.cache
def fresh_model():
    """Accuracy and probe of a model that was not trained, and its encoder's size."""
    keras.utils.set_random_seed(0)
    fresh = finetuning_run.build_model(FEW_STEPS, ["a", "b", "c"], False)
    encoder = sum(int(np.prod(v.shape)) for v in fresh.encoders["image"].weights)
    examples = noise()
    return (
        data.accuracy(fresh, examples),
        finetuning_run.probe(fresh, examples),
        encoder,
    )


@pytest.mark.parametrize("method", finetuning_methods.METHODS)
def test_every_method_runs_and_starts_alike(tiny_encoder, method):
    """Without steps to speak of, all methods answer as the same fresh model."""
    config, examples = FEW_STEPS, noise()
    task = finetuning_run.Task(
        ["a", "b", "c"], False, examples, examples, examples, examples, 0.5
    )
    if method == "l2_sp_fisher":
        config = dataclasses.replace(config, strength=1e-6)
    numbers = finetuning_run.run_method(
        config, task, method=method, labels=4, learning_rate=1e-12, seed=0
    )
    accuracy, probe, encoder = fresh_model()
    assert numbers["test_accuracy"] == accuracy
    assert numbers["other_accuracy"] == probe
    assert numbers["trained_weights"] == HEAD + TRAINED.get(method, encoder)


def test_self_training_teaches_what_the_model_is_sure_of(tiny_encoder, caplog):
    caplog.set_level("INFO")
    labelled, others = noise().choose([0, 1]), noise()
    model = finetuning_run.build_model(FEW_STEPS, ["a", "b", "c"], False)
    answers = np.argmax(model.predict(others.inputs, verbose=0), axis=1)
    config = dataclasses.replace(FEW_STEPS, pseudo_label_threshold=0.0)
    taught = finetuning_methods.with_own_labels(config, model, labelled, others)
    np.testing.assert_array_equal(taught.labels[len(others) :], answers)
    own = np.resize(labelled.labels, len(others))
    np.testing.assert_array_equal(taught.labels[: len(others)], own)
    assert f"labels {len(others)} of {len(others)}" in caplog.text
    config = dataclasses.replace(FEW_STEPS, pseudo_label_threshold=1.0)
    assert (
        finetuning_methods.with_own_labels(config, model, labelled, others) is labelled
    )


FIXED = {"batch_norm_frozen": True}
PROBE_FIRST = {**FIXED, "train_from_epoch": 2, "learning_rate_scale": 0.1}
LORA = kmmft.finetuning.LoRA(rank=8, alpha=16.0)
# The rule of the encoders, and that of the head.
RULES = {
    "full": (FIXED, {}),
    "linear_probe": ({"train": False}, {}),
    "lp_ft": (PROBE_FIRST, {}),
    "gradual_unfreezing": (
        {**FIXED, "train_from_epoch": 1, "epochs_per_group": 1, "groups": 3},
        {},
    ),
    "layer_wise_decay": ({**FIXED, "layer_decay": 0.75}, {}),
    "l2": ({**FIXED, "l2": 0.25}, {"l2": 0.25}),
    "l2_sp": ({**FIXED, "l2_sp": 0.25}, {"l2": 0.25}),
    "l2_sp_fisher": ({**FIXED, "l2_sp": 0.25, "fisher": 22}, {"l2": 0.25}),
    "lora": ({**FIXED, "adapter": LORA}, {}),
    "adapters": ({**FIXED, "adapter": kmmft.finetuning.Bottleneck()}, {}),
    "bitfit": ({"adapter": kmmft.finetuning.BitFit()}, {}),
    "adversarial": (FIXED, {}),
    "wise_ft": (PROBE_FIRST, {}),
    "self_distillation": (PROBE_FIRST, {}),
    "fix_match": (FIXED, {}),
    "self_training": (FIXED, {}),
}


def test_what_the_plans_of_all_methods_do(tiny_encoder, monkeypatch):
    config = dataclasses.replace(SMOKE, epochs=4, strength=0.25)
    model = finetuning_run.build_model(config, ["a", "b", "c"], False)
    images = np.zeros((4, 32, 32, 3), "float32")
    train = kmmft.data.Examples({"image": images}, np.arange(4) % 3)
    # What it finds is tested with training; here, that it is of this model.
    monkeypatch.setattr(
        kmmft.finetuning,
        "estimate_fisher",
        lambda model, *_, **__: {
            path: np.ones(v.shape)
            for path, v in kmmft.finetuning.named_variables(model).items()
            if path.startswith("image_encoder")
        },
    )
    assert set(RULES) == set(finetuning_methods.METHODS)
    for name, method in finetuning_methods.METHODS.items():
        plan = method.plan_for(config, model, train)
        plan.check(model)
        encoders, head = (rule.given() for rule in plan.rules)
        if "fisher" in encoders:
            encoders["fisher"] = len(encoders["fisher"])
        assert (encoders, head) == RULES[name], name
        assert plan.rules[-1].pattern == "*"
        # By name, the number that each option of the train step got.
        options = {
            type(option).__name__: getattr(
                option, "epsilon", getattr(option, "threshold", None)
            )
            for option in method.options(config)
        }
        expected = {
            "adversarial": {"FGM": 2 * 32 * 3**0.5},
            "fix_match": {"FixMatch": 0.95},
        }
        assert options == expected.get(name, {})


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what"]


def test_questions_adapt_or_stay_frozen(tiny_encoder):
    text = kmmft.encoders.TextEncoder(
        keras_hub.models.BertBackbone(len(WORDS), 1, 2, 8, 16),
        keras_hub.tokenizers.BertTokenizer(WORDS, lowercase=True),
        sequence_length=4,
    )
    conv = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 8)])
    image = kmmft.encoders.ImageEncoder(
        keras.Model(conv.inputs[0], conv.outputs[0]), image_size=8
    )
    model = kmmft.models.FusionClassifier(
        {"image": image, "question": text},
        kmmft.layers.BilinearFusion(4),
        ["a", "b"],
    )
    adapters = finetuning_methods.METHODS["adapters"]
    plan = adapters.plan_for(SMOKE, model, None)
    assert [(r.pattern, type(r.adapter).__name__) for r in plan.rules[:-1]] == [
        ("image_encoder/*", "LoRA"),
        ("text_encoder/*", "Bottleneck"),
    ]
    plan.check(model)
    frozen = dataclasses.replace(SMOKE, train_text_encoder=False)
    for name, method in finetuning_methods.METHODS.items():
        if name != "l2_sp_fisher":
            method.plan_for(frozen, model, None).check(model)
    adapters.plan_for(frozen, model, None).apply(model)
    trained = {
        path.rpartition("/")[2] if "encoder" in path else "head"
        for path, v in kmmft.finetuning.named_variables(model).items()
        if v.trainable
    }
    assert trained == {"lora_a", "lora_b", "head"}


def test_method_that_does_not_suit_the_model_is_named(tiny_encoder, monkeypatch):
    method = finetuning_methods.Method(
        lambda *_: kmmft.finetuning.presets.full(
            dropout_rate=0.1, pretrained="logits/*"
        )
    )
    monkeypatch.setitem(finetuning_methods.METHODS, "full", method)
    examples = kmmft.data.Examples(
        {"image": np.zeros((2, 32, 32, 3), "float32")}, np.array([0, 1])
    )
    task = finetuning_run.Task(
        ["a", "b"], False, examples, examples, examples, None, None
    )
    with pytest.raises(ValueError, match=r"Received: 'full'.*needs dropout layers"):
        finetuning_run.check_methods(SMOKE, task)


def test_mixture_of_weights_is_the_best_on_validation():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.array([[2.0]])])
    start = {k: 0 * v for k, v in kmmft.finetuning.weight_values(model).items()}

    def score(model):
        return -abs(float(model.get_weights()[0][0, 0]) - 0.7)

    finetuning_methods.mix_with_probe(model, start, score)
    # Shares of 0.2 are tried: 0.8 is nearest to 0.7.
    assert model.get_weights()[0][0, 0] == pytest.approx(0.8)


def test_answers_of_a_diverged_model_are_wrong_and_are_told(caplog):
    x = keras.Input((1,), name="x")
    model = keras.Model({"x": x}, keras.layers.Dense(2)(x))
    model.set_weights([np.array([[3e38, 0.0]]), np.array([1.0, 0.0])])
    inputs = {"x": np.array([[0.0], [10.0]], "float32")}
    # The second one's logits are infinity and 0.
    examples = kmmft.data.Examples(inputs, np.array([0, 0]))
    assert data.accuracy(model, examples) == 0.5
    assert "1 of 2 answers are not finite" in caplog.text


def test_features_that_are_not_finite_know_nothing(tiny_encoder, caplog):
    model = finetuning_run.build_model(SMOKE, ["a", "b"], False)
    weight = model.encoders["image"].trainable_weights[0]
    weight.assign(np.full(weight.shape, np.nan))
    images = np.zeros((2, 32, 32, 3), "float32")
    other = kmmft.data.Examples({"image": images}, np.array([0, 1]))
    assert finetuning_run.probe(model, other) == 0.0
    assert "features are not finite" in caplog.text


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"methods": "full,fll"}, "fll"),
        ({"labels": "5,many"}, "labels"),
        ({"learning_rates": "-1"}, "learning_rates"),
        ({"steps": 7, "epochs": 2}, "multiple"),
        ({"seeds": 0}, "seeds"),
        ({"labels": "2.5"}, "whole"),
        ({"strategy": "multi_worker"}, "strategy"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMOKE, **changes)
