import dataclasses
import json
import types

import keras
import numpy as np
import pytest

import kmmft
from recipes import prune as recipe
from recipes.smaller.layers import spread
from recipes.smaller.measuring import measured
from tests.models.test_fusion_classifier import make_model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three smaller models of one that knows nothing."""
    folder = tmp_path_factory.mktemp("prune")
    keras.utils.set_random_seed(0)
    config = dataclasses.replace(
        recipe.PRESETS["smoke"],
        output_dir=str(folder / "run"),
        model=str(folder / "trained.keras"),
        text_layers=(1,),
        importance_batches=1,
        steps=2,
        max_accuracy_drop=1.0,
    )
    source = recipe.open_questions("shapes", folder / "run/data")
    answers = kmmft.data.Vocabulary.load_or_build(source, "train", "answer")
    make_model(class_names=answers.entries).save(folder / "trained.keras")
    return config, recipe.main(config), folder / "run"


@pytest.mark.slow
def test_models_are_smaller_and_were_trained(run):
    _, metrics, folder = run
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    before = kmmft.models.load_fusion_classifier(folder.parent / "trained.keras")
    zeros, units, layers = (
        kmmft.models.load_fusion_classifier(folder / name)
        for name in ("zeros_50", "units_50", "layers_1")
    )
    kernels = [v for v in zeros.weights if v.name == "kernel"]
    share = np.mean(np.concatenate([v.numpy().ravel() == 0 for v in kernels]))
    assert share == pytest.approx(0.5, abs=0.01)
    assert zeros.count_params() == layers.count_params() == before.count_params()
    assert units.encoders["image"].backbone.mlp_dim == 8
    assert metrics["units_50/parameters"] == units.count_params()
    assert units.count_params() < before.count_params()
    for name in ("zeros_50", "units_50", "layers_1"):
        for key in ("before/test/accuracy", "test/accuracy", "latency_ms/batch_1"):
            assert metrics[f"{name}/{key}"] >= 0
        assert 0 < metrics[f"{name}/zipped_mb"] < metrics[f"{name}/size_mb"]
        assert (folder / name / "export/1/saved_model.pb").exists()
    assert metrics["zeros_50/zipped_mb"] < metrics["trained/zipped_mb"]
    # The same weights, trained for two steps.
    one, other = (model.get_layer("logits").kernel for model in (layers, before))
    assert 0 < np.abs(one - other).max() < 0.01


@pytest.mark.slow
def test_the_same_command_again_runs_nothing(run, capsys):
    config, metrics, folder = run
    before = (folder / "metrics.json").stat().st_mtime_ns
    assert recipe.main(config) == metrics
    assert (folder / "metrics.json").stat().st_mtime_ns == before
    assert "Smaller models" in capsys.readouterr().out


def test_the_smallest_that_loses_little_is_chosen():
    names = {"trained": (0.99, 96.0), "zeros_50": (0.986, 73.0), "units_50": (0.98, 50)}
    metrics = {
        f"{name}/{key}": value
        for name, values in names.items()
        for key, value in zip(("validation/accuracy", "zipped_mb"), values, strict=True)
    }
    # The test's accuracy decides nothing.
    metrics |= {f"{name}/test/accuracy": 0.9 for name in names}
    config = recipe.Config(zeros=(0.5,), hidden_units=(0.5,), text_layers=())
    table = recipe.comparison_table(config, metrics)
    assert table.rows[table.highlight][0] == "50% of the kernels' weights zero"
    assert [row[-1] for row in table.rows] == [0.9] * 3
    loose = dataclasses.replace(config, max_accuracy_drop=0.02)
    assert recipe.comparison_table(loose, metrics).highlight == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zeros": (1.0,)}, "`--zeros` must be in"),
        ({"hidden_units": (0.0,)}, "`--hidden_units` must be in"),
        ({"max_accuracy_drop": -0.1}, "max_accuracy_drop.*-0.1"),
        ({"importance_batches": -1}, "`--importance_batches` must not be negative"),
        ({"steps": 0}, "`--steps` and `--text_layers` must be at least 1"),
        ({"zeros": (), "hidden_units": (), "text_layers": ()}, "none of --zeros"),
    ],
)
def test_bad_settings_end_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message):
        recipe.Config(**changes)


def test_a_model_too_slow_for_many_rows_has_no_latency_of_them(tmp_path, monkeypatch):
    (tmp_path / "1").mkdir()
    served = types.SimpleNamespace(function=None)
    monkeypatch.setattr(kmmft.export, "load_variant", lambda path: served)
    monkeypatch.setattr(kmmft.export, "measure_latency", lambda *_, **__: {1: 700.0})
    found = measured(None, tmp_path, {"question": ["why?"]})
    assert found == {"size_mb": 0.0, "latency_ms/batch_1": 700.0}


def test_layers_are_evenly_spaced():
    backbone = types.SimpleNamespace(num_layers=6)
    encoder = types.SimpleNamespace(backbone=backbone)
    assert spread(encoder, 3, "text_layers") == [0, 2, 4]
    with pytest.raises(ValueError, match=r"`--image_layers` must be at most.* 6\."):
        spread(encoder, 7, "image_layers")


def test_shares_that_are_close_make_models_of_their_own():
    config = recipe.Config(zeros=(0.991, 0.994), hidden_units=(), text_layers=())
    assert list(recipe.smaller_models(config, None)) == ["zeros_99.1", "zeros_99.4"]


def test_a_recovery_has_as_many_steps_as_asked(monkeypatch):
    seen = {}

    def fit_classifier(config, run, build_model, build_data, steps):
        seen["steps"] = np.prod(config.rounds(steps))
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "load_trained", lambda config: None)
    monkeypatch.setattr(recipe, "build_data", lambda *_, **__: None)
    monkeypatch.setattr(recipe, "test", lambda *_: (None, {}))
    monkeypatch.setattr(kmmft.training, "fit_classifier", fit_classifier)
    config = recipe.Config(steps=12, epochs=5, validations_per_epoch=4)
    with pytest.raises(KeyboardInterrupt):
        recipe.test_and_recover(config, None, lambda model: model, None)
    assert seen["steps"] == 12


def test_more_layers_than_there_are():
    with pytest.raises(ValueError, match="at most those of BertBackbone, 1"):
        recipe.with_fewer_layers(2, make_model())


def test_a_config_comes_back_from_json():
    config = recipe.Config(zeros=(0.5,))
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    assert recipe.Config(**values) == config
