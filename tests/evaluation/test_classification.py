"""Hand values, and the known floors of easy-VQA."""

import pathlib
import re

import easy_vqa
import numpy as np
import pytest

import kmmft
from kmmft.evaluation import (
    classification_metrics,
    confusion_matrix,
    majority_floor,
    question_only_floor,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Brown, Cai and DasGupta's formula by hand; both ends are the roots of
        # (p - share)^2 = z^2 p (1 - p) / n.
        (9, 10, 0.5958, 0.9821),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (500, 1000, 0.4691, 0.5309),
    ],
)
def test_wilson_interval(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_ends_solve_the_quadratic():
    share, trials = 0.83, 100
    for end in wilson_interval(83, trials):
        assert (end - share) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / 100)


def test_macro_f1_by_hand():
    # Class 0: TP 2, FP 1, FN 0 -> 4/5. Class 1: TP 1, FP 0, FN 2 -> 2/4.
    # Class 2: TP 0, FP 1, FN 0 -> 0. Class 3 never occurs and does not count.
    metrics = classification_metrics([0, 0, 1, 1, 1], [0, 0, 0, 1, 2], list("abcd"))
    assert metrics["macro_f1"] == pytest.approx((4 / 5 + 2 / 4 + 0) / 3)
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["examples"] == 5
    low, high = wilson_interval(3, 5)
    assert (metrics["accuracy_low"], metrics["accuracy_high"]) == (low, high)


def test_groups_by_hand():
    metrics = classification_metrics(
        [0, 1, 1, 0, 1], [0, 1, 0, 0, 0], ["no", "yes"], ["x", "x", "x", "", "y"]
    )
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["accuracy/x"] == pytest.approx(2 / 3)
    assert metrics["accuracy/y"] == 0.0
    assert (metrics["examples/x"], metrics["examples/y"]) == (3, 1)
    assert metrics["accuracy_high/y"] == pytest.approx(wilson_interval(0, 1)[1])
    assert "accuracy/" not in metrics


def test_confusion_matrix_rows_are_targets():
    counts = confusion_matrix([0, 0, 2], [1, 1, 2], 3)
    assert counts.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("targets", "predictions", "message"),
    [
        ([], [], "at least one"),
        ([0], [0, 1], "one prediction per target"),
        ([0], [2], "predictions must be class numbers from 0 to 1"),
        ([-1], [0], "targets must be class numbers"),
        ([0.5], [0], "targets must be class numbers"),
        (["no"], [0], "targets must be class numbers"),
    ],
)
def test_bad_classes(targets, predictions, message):
    with pytest.raises(ValueError, match=message):
        classification_metrics(targets, predictions, ["no", "yes"])


def test_bad_groups():
    with pytest.raises(ValueError, match="one group per target"):
        classification_metrics([0, 1], [0, 1], ["no", "yes"], ["a"])


def test_floors_of_easy_vqa():
    train_questions, train_answers, _ = easy_vqa.get_train_questions()
    questions, answers, _ = easy_vqa.get_test_questions()
    assert majority_floor(train_answers, answers) == pytest.approx(0.373, abs=5e-4)
    floor = question_only_floor(train_questions, train_answers, questions, answers)
    assert floor == pytest.approx(0.670, abs=5e-4)


def test_unseen_question_gets_the_majority():
    floor = question_only_floor(
        ["a", "b", "b", "c"], ["1", "2", "2", "2"], ["a", "new", "new"], ["1", "2", "1"]
    )
    assert floor == pytest.approx(2 / 3)


def test_floors_take_arrays_of_class_numbers():
    assert majority_floor(np.array([1, 1, 0]), np.array([1, 0, 0, 0])) == 0.25


def test_floors_need_answers():
    with pytest.raises(ValueError, match="Received: 0 and 1"):
        majority_floor([], ["yes"])
    with pytest.raises(ValueError, match="one answer per question"):
        question_only_floor(["a"], ["1", "2"], ["a"], ["1"])


def test_environment_names_what_matters():
    described = kmmft.evaluation.environment()
    assert described["tensorflow"].startswith("2.")
    assert described["kmmft"] == kmmft.__version__
    assert described["gpus"] == "none"
    assert described["cpu_cores"] >= 1
    assert 0.1 < described["memory_gb"] < 100_000


def test_peak_memory_is_in_mebibytes():
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs Linux")
    kibibytes = int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])
    peak = kmmft.evaluation.peak_memory_mb()
    assert peak == pytest.approx(kibibytes / 1024, rel=0.02)
