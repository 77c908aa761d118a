import json
import math

import numpy as np
import pytest

import kmmft


def counting(numbers):
    calls = []

    def run(**point):
        calls.append(point)
        return numbers(point)

    return run, calls


def test_a_finished_run_is_not_run_again(tmp_path):
    run, calls = counting(lambda point: {"score": point["seed"] * 2})
    points = [{"method": "a", "seed": seed} for seed in range(3)]
    first = kmmft.evaluation.repeated_runs(tmp_path, points[:2], run)
    again = kmmft.evaluation.repeated_runs(tmp_path, points, run)
    assert calls == points
    assert again[:2] == first
    assert again[2] == {"method": "a", "seed": 2, "score": 4}


def test_goes_on_after_a_kill(tmp_path):
    def killed(point):
        if point["seed"] == 1:
            raise KeyboardInterrupt
        return {"score": 1.0}

    points = [{"seed": 0}, {"seed": 1}]
    with pytest.raises(KeyboardInterrupt):
        kmmft.evaluation.repeated_runs(tmp_path, points, counting(killed)[0])
    assert [file.name for file in tmp_path.iterdir()] == ["seed=0.json"]
    run, calls = counting(lambda point: {"score": 2.0})
    rows = kmmft.evaluation.repeated_runs(tmp_path, points, run)
    assert calls == [{"seed": 1}]
    assert [row["score"] for row in rows] == [1.0, 2.0]
    assert json.loads((tmp_path / "seed=1.json").read_text()) == rows[1]


def test_a_number_called_like_a_setting_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must not be called.*seed"):
        kmmft.evaluation.repeated_runs(
            tmp_path, [{"seed": 0}], lambda seed: {"seed": 1}
        )
    assert not list(tmp_path.iterdir())


def test_mean_and_deviation_are_those_of_numpy():
    values = [0.3, 0.5, 0.55, 0.61]
    mean, deviation = kmmft.evaluation.mean_and_deviation(values)
    assert mean == pytest.approx(np.mean(values))
    assert deviation == pytest.approx(np.std(values, ddof=1))
    assert math.isnan(kmmft.evaluation.mean_and_deviation([0.5])[1])
    with pytest.raises(ValueError, match="needs values"):
        kmmft.evaluation.mean_and_deviation([])


def test_search_tries_each_value_once_and_repeats_the_best(tmp_path):
    # The test's score would choose the other rate.
    run, calls = counting(
        lambda point: {"validation": point["rate"], "test": -point["rate"]}
    )
    rows = kmmft.evaluation.search_and_repeat(
        tmp_path,
        {"method": "a"},
        run,
        setting="rate",
        values=[1, 3, 2],
        score="validation",
        seeds=[5, 6, 7],
    )
    assert [(row["rate"], row["seed"]) for row in rows] == [(3, 5), (3, 6), (3, 7)]
    assert [(call["rate"], call["seed"]) for call in calls] == [
        (1, 5),
        (3, 5),
        (2, 5),
        (3, 6),
        (3, 7),
    ]


def test_first_of_equal_settings_is_chosen():
    rows = [{"rate": rate, "score": 0.5} for rate in (2, 1, 3)]
    assert kmmft.evaluation.best_setting(rows, "rate", "score") == 2
    with pytest.raises(ValueError, match="needs runs"):
        kmmft.evaluation.best_setting([], "rate", "score")


def test_pareto_front_by_hand():
    costs, scores = [1, 2, 2, 3, 4], [0.5, 0.5, 0.7, 0.7, 0.9]
    front = kmmft.evaluation.pareto_front(costs, scores)
    assert front == [True, False, True, False, True]
    # Equal points do not beat each other.
    assert kmmft.evaluation.pareto_front([1, 1], [0.5, 0.5]) == [True, True]


def test_chart_names_the_front_and_escapes():
    points = {"a<b": (10.0, 0.8, 0.01), "worse": (1e4, 0.7, math.nan)}
    section = kmmft.evaluation.pareto_section(points, "weights", "accuracy", "Chart")
    assert "better than: a&lt;b." in section and "<svg" in section
    assert "a<b" not in section and "#010104" not in section


def test_table_has_the_best_method_first():
    rows = {
        "probe": [{"seed": 0, "test_accuracy": 0.6, "learning_rate": 1e-2}],
        "full": [{"seed": 0, "test_accuracy": 0.8, "learning_rate": 1e-4}],
    }
    metrics = {}
    for name, runs in rows.items():
        metrics |= kmmft.evaluation.method_metrics(name, runs)
    table = kmmft.evaluation.method_table(
        metrics, {"P": "probe", "F": "full"}, "Test", {"test_accuracy": "test"}
    )
    assert list(table.header) == ["method", "test", "deviation", "rate"]
    assert table.rows == [["F", 0.8, None, "0.0001"], ["P", 0.6, None, "0.01"]]


def test_deviation_of_accuracies_only():
    rows = [{"seed": s, "test_accuracy": s / 4, "seconds": s} for s in (1, 3)]
    metrics = kmmft.evaluation.method_metrics("m", rows)
    assert metrics == {
        "m/test_accuracy": 0.5,
        "m/test_accuracy_deviation": pytest.approx(np.std([0.25, 0.75], ddof=1)),
        "m/seconds": 2,
    }


def test_gains_are_paired_by_seed():
    """Mean and deviation of the differences, as in a paired t-test."""
    scores = {"full": [0.5, 0.7, 0.6], "lora": [0.55, 0.72, 0.68]}
    rows = {
        name: [{"seed": s, "test_accuracy": x} for s, x in enumerate(values)]
        for name, values in scores.items()
    }
    metrics = kmmft.evaluation.method_metrics("full", rows["full"])
    metrics |= kmmft.evaluation.method_metrics("lora", rows["lora"][::-1], rows["full"])
    differences = np.subtract(scores["lora"], scores["full"])
    assert metrics["lora/test_accuracy_gain"] == pytest.approx(differences.mean())
    assert metrics["lora/test_accuracy_gain_deviation"] == pytest.approx(
        differences.std(ddof=1)
    )
    table = kmmft.evaluation.method_table(
        metrics,
        {"LoRA": "lora", "Full": "full"},
        "Test",
        {"test_accuracy": "test"},
        "Note.",
        reference="Full",
    )
    assert list(table.header) == ["method", "test", "deviation", "vs Full"]
    # Differences of 5, 2 and 8 points.
    assert [row[3] for row in table.rows] == ["+5.0 ± 3.0", None]
    assert table.note.startswith("Note. vs Full: ")
    with pytest.raises(ValueError, match=r"same seeds.*\[0, 1, 2\] and \[0, 1\]"):
        kmmft.evaluation.method_metrics("lora", rows["lora"], rows["full"][:2])


def test_methods_are_compared_with_equal_effort(tmp_path):
    """The same rates for each, of equals the lowest; then all seeds and labels."""

    def score(point):
        best = {"a": 0.01, "b": 0.1}[point["method"]]
        found = 0.5 if point["learning_rate"] >= best else 0.25
        return {"validation_accuracy": found, "test_accuracy": found + point["seed"]}

    run, calls = counting(score)
    metrics = kmmft.evaluation.compare_methods(
        tmp_path,
        run,
        methods=["a", "b"],
        labels=[5, 20],
        learning_rates=[0.1, 0.001, 0.01],
        seeds=[3, 4],
        reference="b",
    )
    for name, best in {"a": 0.01, "b": 0.1}.items():
        made = [list(call.values())[1:] for call in calls if call["method"] == name]
        tried = [[5, rate, 3] for rate in (0.001, 0.01, 0.1)]
        assert made == [*tried, [5, best, 4], [20, best, 3], [20, best, 4]]
        assert metrics[f"{name}/20_labels/learning_rate"] == best
    assert metrics["a/5_labels/test_accuracy_gain"] == 0
    assert "b/5_labels/test_accuracy_gain" not in metrics


def test_probe_leaves_each_example_out():
    """Against a ridge regression fitted anew without each example."""
    random = np.random.default_rng(0)
    labels = np.arange(24) % 3
    features = random.normal(size=(24, 5)) + 0.8 * np.eye(3, 5)[labels]
    centred = features - features.mean(axis=0)
    x = centred / np.linalg.norm(centred, axis=1).mean()
    x = np.concatenate([x, np.full((24, 1), 1e3)], axis=1)
    right = 0
    for row in range(24):
        rest = np.arange(24) != row
        gram = x[rest].T @ x[rest] + 0.5 * np.eye(6)
        weights = np.linalg.solve(gram, x[rest].T @ np.eye(3)[labels[rest]])
        right += (x[row] @ weights).argmax() == labels[row]
    assert 8 < right < 24
    accuracy = kmmft.evaluation.feature_probe(features, labels, penalty=0.5)
    assert accuracy == pytest.approx(right / 24)
    with pytest.raises(ValueError, match="two classes"):
        kmmft.evaluation.feature_probe(features, np.zeros(24, int))
    features[3] = np.nan
    with pytest.raises(ValueError, match="1 of 24 examples"):
        kmmft.evaluation.feature_probe(features, labels)


def test_cost_sees_memory_and_steps():
    with kmmft.evaluation.TrainingCost() as cost:
        held = np.ones(30_000_000)
    del held
    if not math.isnan(cost.memory_mb):
        assert 200 < cost.memory_mb < 400  # 240 MB in MiB, and what else happens
    assert math.isnan(cost.milliseconds_per_step)


def test_few_examples():
    data = kmmft.data.Examples({"image": np.arange(60)}, np.arange(60) % 3)
    few = data.few(4, seed=1)
    assert np.bincount(few.labels).tolist() == [4, 4, 4]
    assert (few.inputs["image"] % 3 == few.labels).all()
    # More labels of the same seed hold the fewer, so that curves are of one draw.
    assert set(few.inputs["image"]) < set(data.few(8, seed=1).inputs["image"])
    assert set(few.inputs["image"]) != set(data.few(4, seed=2).inputs["image"])
    assert len(data.few(0.1, seed=0)) == 6
    with pytest.raises(ValueError, match="must be positive"):
        data.few(0, seed=0)


def test_batches_are_repeatable_and_keep_pairs():
    data = kmmft.data.Examples({"row": np.arange(10)}, np.arange(10) * 2)

    def epoch(seed):
        batches = data.training_batches(5, seed).take(2).as_numpy_iterator()
        return [(x["row"].tolist(), y.tolist()) for x, y in batches]

    assert epoch(0) == epoch(0) != epoch(1)
    rows = [row for x, _ in epoch(0) for row in x]
    assert sorted(rows) == list(range(10))
    assert all(y == [2 * row for row in x] for x, y in epoch(0))
