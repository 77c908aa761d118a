"""The search over a recipe's settings, on a recipe without a model."""

import contextlib
import dataclasses
import json
import pathlib
import subprocess
import sys
import time

import pytest

from recipes import tune
from recipes.tuning import search_study, trial_run
from recipes.tuning.space import Range, flags_of, parse_space
from recipes.tuning.trial_objective import suggest
from tests.recipes import toy_recipe

BASE = toy_recipe.Config()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(trial_run, "_POLL_SECONDS", 0.01)


def config(tmp_path, **changes):
    return tune.Config(
        **{
            "recipe": "tests.recipes.toy_recipe",
            "search": ("learning_rate=0.1|0.2|0.4|0.95",),
            "sampler": "grid",
            "trials": 8,
            "output_dir": str(tmp_path / "search"),
            **changes,
        }
    )


def starts(tmp_path):
    files = tmp_path.glob("search/trials/*/starts")
    return {told(file.parent): int(file.read_text()) for file in files}


def told(directory):
    """What a run's directory tells, without the hash."""
    return directory.name.rpartition("-")[0]


def test_a_grid_finds_the_best_and_outlives_failures(tmp_path, capsys):
    metrics = tune.main(config(tmp_path))
    # A tenth of a rate costs as much accuracy; after three epochs 1/16 is missing.
    assert metrics["best/val_accuracy"] == pytest.approx(1 - 0.05 - 1 / 16)
    assert metrics["trials"] == 3
    folder = tmp_path / "search"
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert "learning_rate" in (folder / "report.html").read_text()
    assert "learning_rate=0.2" in capsys.readouterr().out
    name = trial_run.directory_name({"learning_rate": 0.95})
    assert "diverged" in (folder / "trials" / name / "output.log").read_text()


def test_the_same_command_again_runs_no_trial_twice(tmp_path):
    changes = {"search": ("learning_rate=0.1|0.2|0.4",)}
    first = tune.main(config(tmp_path, trials=2, **changes))
    assert first["trials"] == 2
    again = tune.main(config(tmp_path, trials=3, jobs=2, **changes))
    assert again["trials"] == 3
    assert set(starts(tmp_path).values()) == {1}
    with pytest.raises(ValueError, match="sampler was 'grid', is now 'tpe'"):
        tune.main(config(tmp_path, sampler="tpe", **changes))


@pytest.mark.parametrize(
    ("sampler", "values"), [("random", "0.1..0.4"), ("grid", "0.1|0.2")]
)
def test_a_trial_that_was_cut_off_is_tried_again(tmp_path, sampler, values):
    """As after a kill: the trial is still noted as running."""
    search = config(
        tmp_path, search=(f"learning_rate={values}",), sampler=sampler, trials=2
    )
    space = parse_space(search.search, BASE)
    folder = pathlib.Path(search.output_dir)
    folder.mkdir()
    options = {"sampler": sampler, "pruner": "none", "mode": "max", "seed": 0}
    study = search_study.open_study(folder / "study.log", space, **options)
    rate = suggest(study.ask(), "learning_rate", space["learning_rate"])
    assert tune.main(search)["trials"] == 2
    assert f"learning_rate={rate}" in starts(tmp_path)
    assert len(starts(tmp_path)) == 2


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_samplers_draw_in_the_range_and_by_the_seed(tmp_path, sampler):
    found = []
    for name in ("a", "b"):
        search = config(
            tmp_path / name,
            search=("learning_rate=0.01..0.8:log",),
            sampler=sampler,
            trials=3,
        )
        (tmp_path / name).mkdir()
        tune.main(search)
        found.append(sorted(starts(tmp_path / name)))
    assert found[0] == found[1] and len(found[0]) == 3
    rates = [float(name.removeprefix("learning_rate=")) for name in found[0]]
    assert all(0.01 <= rate <= 0.8 for rate in rates)


def test_asha_stops_what_is_behind(tmp_path):
    search = config(
        tmp_path,
        recipe_flags="--epochs=12 --seconds=0.05",
        search=("learning_rate=0.25|0.24|0.8|0.7|0.6",),
        pruner="asha",
    )
    tune.main(search)
    found = {}
    for path in tmp_path.glob("search/trials/*"):
        found[told(path)] = (path / "metrics.json").exists()
    assert found["learning_rate=0.25"] and not all(found.values())
    report = (tmp_path / "search/report.html").read_text()
    assert "pruned" in report


def test_runs_end_with_a_search_that_is_killed(tmp_path):
    search = (
        "from recipes import tune; tune.main(tune.Config("
        "recipe='tests.recipes.toy_recipe', recipe_flags='--seconds=60',"
        f"search=('learning_rate=0.1|0.2',), output_dir={str(tmp_path / 'search')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", search])
    pids = []
    while not pids:
        assert process.poll() is None
        time.sleep(0.1)
        files = tmp_path.glob("search/trials/*/pid")
        pids = [int(file.read_text() or 0) for file in files]
    process.kill()
    process.wait()
    for _ in range(100):
        if not pathlib.Path(f"/proc/{pids[0]}").exists():
            return
        time.sleep(0.1)
    pytest.fail("The run goes on.")


def test_equal_values_are_run_once(tmp_path, capsys, caplog):
    """One after the other, at once, and in a search that looks further."""
    search = config(
        tmp_path, search=("learning_rate=0.2",), sampler="random", trials=3, jobs=3
    )
    assert tune.main(search)["trials"] == 3
    again = dataclasses.replace(search, trials=4)
    metrics = tune.main(again)
    assert metrics == {"best/val_accuracy": pytest.approx(0.8875), "trials": 4}
    assert starts(tmp_path) == {"learning_rate=0.2": 1}
    assert "as trial 0" in capsys.readouterr().out
    assert "failed" not in caplog.text


def test_rows_that_are_written_again_are_told_once(tmp_path):
    """As by a run that goes on behind where its history ends."""
    run = trial_run.TrialRun("none", [], tmp_path, {"width": 8})
    run.directory.mkdir()
    histories = [[0, 1, 2], [0, 1], [0, 1, 2, 3]]

    class Process:
        returncode = 0

        def poll(self):
            epochs = histories.pop(0)
            rows = "".join(f"{epoch},0.5\n" for epoch in epochs)
            (run.directory / "history.csv").write_text(f"epoch,loss\n{rows}")
            return None if histories else 0

    run._process = lambda log: contextlib.nullcontext(Process())
    assert [epoch for epoch, _ in run.epochs("loss")] == [0, 1, 2, 3]


def test_directories_have_short_names_of_their_own():
    values = [{"kind": "a/b"}, {"kind": "a_b"}, {"kind": "/é" * 200}]
    values.append({"kind": "/é" * 201})
    names = [trial_run.directory_name(one) for one in values]
    assert len(set(names)) == 4 and names[0].startswith("kind=a_b-")
    assert all(len(name.encode()) < 120 and "/" not in name for name in names)


def test_spaces_by_the_types_of_the_settings():
    space = parse_space(
        ["width=4..16", "fast=true|false", "kind=x..y|z", "seconds=1|2.5"], BASE
    )
    assert space == {
        "width": Range(4, 16),
        "fast": [True, False],
        "kind": ["x..y", "z"],
        "seconds": [1.0, 2.5],
    }
    assert flags_of({"fast": False, "kind": "z"}) == ["--no_fast", "--kind=z"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate", "Received: 'learning_rate'"),
        ("learning_rate=0..inf", "learning_rate=0..inf.*finite numbers"),
        ("learning_rate=nan|1", "finite numbers"),
        ("learning_rate=1e-3|0.001", "each choice once"),
        ("kind=a|b|a", "each choice once"),
        ("output_dir=a|b", "sets output_dir and resume .*'output_dir=a.b'"),
        ("resume=true|false", "sets output_dir and resume "),
        ("names=a|b", "must be a number.*'names=a|b', a tuple"),
        ("learning_rates=1|2", "Near names: learning_rate"),
        ("width=4.5|8", "type int.*'width=4.5|8'"),
        ("width=8..4", "the smaller number comes first"),
        ("learning_rate=0..1:log", "a logarithm needs numbers above 0"),
        ("learning_rate=0..1:step", "then :log or nothing"),
        ("fast=yes|no", "true or false"),
    ],
)
def test_bad_spaces_end_in_one_line(text, message):
    with pytest.raises(ValueError, match=message):
        parse_space([text], BASE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "val_f1"}, "Received: 'val_f1'. Its columns: epoch, val_accuracy"),
        ({"metric": "val_f1", "jobs": 2, "trials": 2}, "Received: 'val_f1'. Its"),
        ({"search": ("learning_rate=0.95|0.99",)}, "Received: none of 2"),
        ({"search": ("learning_rate=0.1..0.2",)}, "A grid needs choices"),
        ({"recipe": "no_such"}, "`--recipe` must be a recipe.*no_such"),
    ],
)
def test_bad_searches_end_in_one_line(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        tune.main(config(tmp_path, **changes))


@pytest.mark.parametrize(
    "changes", [{"mode": "most"}, {"sampler": "guess"}, {"jobs": 0}, {"search": ()}]
)
def test_bad_settings_are_refused(changes):
    with pytest.raises(ValueError, match="Received"):
        dataclasses.replace(tune.PRESETS["smoke"], **changes)
