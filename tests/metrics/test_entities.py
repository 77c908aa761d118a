"""Entities against `seqeval`, whose numbers `golden/entities.json` holds."""

import json
import pathlib

import pytest

from kmmft.metrics import entities, entity_metrics

# make_entity_golden.py made it, with seqeval 1.2.2.
GOLDEN = json.loads(
    (pathlib.Path(__file__).parent / "golden/entities.json").read_text()
)


def test_equal_to_seqeval():
    scores = entity_metrics(GOLDEN["true"], GOLDEN["pred"])
    for name in ("precision", "recall", "f1"):
        assert scores[f"entity_{name}"] == pytest.approx(GOLDEN[name], abs=1e-12)
    for kind, numbers in GOLDEN["by_type"].items():
        assert scores[f"entity_f1/{kind}"] == pytest.approx(numbers["f1"], abs=1e-12)
        assert scores[f"entities/{kind}"] == numbers["support"]


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("B-A I-A O", [("A", 0, 1)]),
        ("B-A B-A", [("A", 0, 0), ("A", 1, 1)]),
        ("I-A I-B I-B", [("A", 0, 0), ("B", 1, 2)]),
        ("B-A I-A E-A S-B I-B", [("A", 0, 2), ("B", 3, 3), ("B", 4, 4)]),
        ("O O", []),
    ],
)
def test_by_hand(tags, found):
    assert entities(tags.split()) == found


def test_no_entity_at_all():
    assert entity_metrics([["O"]], [["O"]])["entity_f1"] == 0.0


@pytest.mark.parametrize(
    ("targets", "predictions", "message"),
    [
        ([], [], "0 right and 0 predicted"),
        ([["O"]], [["O", "O"]], "1 right and 2 predicted tags in sentence 0"),
        ([["NN"]], [["O"]], r"such as B-PER\. Received: 'NN'"),
        ([["-"]], [["O"]], "Received: '-'"),
    ],
)
def test_bad_tags(targets, predictions, message):
    with pytest.raises(ValueError, match=message):
        entity_metrics(targets, predictions)
