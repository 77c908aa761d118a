"""SQuAD's metrics against transformers' copy, whose numbers `golden` holds."""

import json
import pathlib

import numpy as np
import pytest

from kmmft.metrics import (
    best_no_answer_threshold,
    normalize_squad_answer,
    squad_metrics,
    squad_scores_of_each,
)

# make_squad_golden.py made it.
GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden/squad.json").read_text())
ANSWERS = GOLDEN["predictions"], GOLDEN["references"]


def test_scores_of_each_question():
    exact, f1 = squad_scores_of_each(*ANSWERS)
    np.testing.assert_array_equal(exact, GOLDEN["exact_of_each"])
    np.testing.assert_allclose(f1, GOLDEN["f1_of_each"], atol=1e-12)
    assert 0.2 < exact.mean() < f1.mean() < 0.8


@pytest.mark.parametrize(
    ("options", "golden"),
    [
        ((), GOLDEN["all_answered"]),
        ((GOLDEN["probabilities"], GOLDEN["threshold"]), GOLDEN["with_threshold"]),
    ],
)
def test_means(options, golden):
    metrics = squad_metrics(*ANSWERS, *options)
    for name, own in {"exact": "exact_match", "f1": "f1"}.items():
        for prefix, group in (
            ("", ""),
            ("HasAns_", "/has_answer"),
            ("NoAns_", "/no_answer"),
        ):
            expected = golden[f"{prefix}{name}"] / 100
            assert metrics[f"{own}{group}"] == pytest.approx(expected, abs=1e-12)
    assert metrics["questions/no_answer"] == golden["NoAns_total"]


def test_best_threshold():
    threshold, f1 = best_no_answer_threshold(*ANSWERS, GOLDEN["probabilities"])
    golden = GOLDEN["with_threshold"]
    assert threshold == golden["best_f1_thresh"]
    assert f1 == pytest.approx(golden["best_f1"] / 100, abs=1e-12)
    probabilities = GOLDEN["probabilities"]
    assert squad_metrics(*ANSWERS, probabilities, threshold)["f1"] >= f1 - 1e-12


def test_never_answering_may_be_best():
    assert best_no_answer_threshold(["x", "y"], [[], []], [0.4, 0.2]) == (0.0, 1.0)


def test_an_answer_that_normalises_to_nothing_is_none():
    exact, f1 = squad_scores_of_each(["the", "cat"], [["a"], ["!"]])
    assert exact.tolist() == f1.tolist() == [1.0, 0.0]
    assert normalize_squad_answer("A theatre, an  anthem") == "theatre anthem"


def test_bad_questions():
    with pytest.raises(ValueError, match="1 predictions and 2 lists"):
        squad_metrics(["a"], [["a"], []])
    with pytest.raises(ValueError, match="0 predictions"):
        squad_metrics([], [])
    # Each letter would be a reference.
    with pytest.raises(ValueError, match="str 'red' where a list should be"):
        squad_metrics(["red"], ["red"])
    with pytest.raises(ValueError, match=r"shape \(1,\) for 2 questions"):
        squad_metrics(["a", "b"], [["a"], []], [0.5])
