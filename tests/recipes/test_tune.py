"""The search over a recipe's settings, on a recipe without a model."""

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
    return {file.parent.name: int(file.read_text()) for file in files}


def test_a_grid_finds_the_best_and_outlives_failures(tmp_path, capsys):
    metrics = tune.main(config(tmp_path))
    # A tenth of a rate costs as much accuracy; after three epochs 1/16 is missing.
    assert metrics["best/val_accuracy"] == pytest.approx(1 - 0.05 - 1 / 16)
    assert metrics["trials"] == 3
    folder = tmp_path / "search"
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert "learning_rate" in (folder / "report.html").read_text()
    assert "learning_rate=0.2" in capsys.readouterr().out
    log = (folder / "trials/learning_rate=0.95/output.log").read_text()
    assert "diverged" in log


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
    rate = search_study._suggest(study.ask(), "learning_rate", space["learning_rate"])
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
        found[path.name] = (path / "metrics.json").exists()
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
