"""Two real processes, killed at different moments, end where one device does."""

import dataclasses
import json

import numpy as np
import pytest

from kmmft.training import make_strategy
from kmmft.training.strategies import worker_number
from tests.training import tiny_recipe
from tests.worker_processes import run_two_workers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(tiny_recipe.write_data(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def one_device(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_device")
    config = dataclasses.replace(tiny_recipe.CONFIG, data=data, output_dir=str(folder))
    model, rows = tiny_recipe.train(config)
    return tiny_recipe.weights(model), rows


@pytest.fixture(scope="module")
def workers(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    run = folder / "run"
    flags = ["--strategy", "multi_worker", "--data", data, "--output_dir", str(run)]
    run_two_workers("tests.training.tiny_recipe", flags, folder)
    return [run, run / "workers/1"]


def history(folder):
    lines = (folder / "history.csv").read_text().splitlines()
    return [line.split(",") for line in lines]


def test_weights_and_metrics_are_those_of_one_device(workers, one_device):
    weights, rows = one_device
    for folder in workers:
        stored = np.load(folder / "weights.npz")
        for index, weight in enumerate(weights):
            np.testing.assert_allclose(stored[f"arr_{index}"], weight, atol=1e-5)
        names, *values = history(folder)
        for row, other in zip(rows, values, strict=True):
            logs = dict(zip(names, map(float, other), strict=True))
            # A mean over workers, whose parts of the last batch are unequal.
            assert logs.pop("val_loss") == pytest.approx(row["val_loss"], abs=1e-2)
            expected = {name: row[name] for name in logs}
            assert logs == pytest.approx(expected, abs=1e-5)


def test_workers_go_on_where_both_have_a_checkpoint(workers):
    for folder in workers:
        assert "Going on after step 2 of 6" in (folder / "run.log").read_text()
    # And not in the middle of an epoch.
    assert not [*workers[0].glob("checkpoints/ckpt-[135].*")]


def test_each_worker_reads_its_rows_only(workers):
    assert [(folder / "rows").read_text() for folder in workers] == ["4", "4"]


def test_workers_have_the_same_curves(workers):
    assert history(workers[0]) == history(workers[1])


def test_without_a_worker_s_checkpoints_all_begin_again(workers):
    assert [(folder / "step_after_loss").read_text() for folder in workers] == ["0"] * 2


CLUSTER = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}


@pytest.mark.parametrize(
    ("kind", "index", "number"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)]
)
def test_number_of_a_worker(kind, index, number, monkeypatch):
    config = {"cluster": CLUSTER, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert worker_number() == number


@pytest.mark.parametrize(
    "config",
    [
        "",
        "not json",
        "[]",
        {},
        {"cluster": CLUSTER},
        {"cluster": CLUSTER, "task": {"type": "worker", "index": 2}},
        {"cluster": CLUSTER, "task": {"type": "ps", "index": 0}},
    ],
)
def test_unusable_tf_config(config, monkeypatch):
    text = config if isinstance(config, str) else json.dumps(config)
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=r"multi_worker needs .* TF_CONFIG"):
        make_strategy("multi_worker")
