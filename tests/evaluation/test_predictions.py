import keras
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.evaluation import Predictions, Table
from tests.data.conftest import write_records

CLASSES = ["cold", "warm"]
KINDS = ["even", "odd", "", "odd"]


def make_model():
    """Its logits are its input times two."""
    scores = keras.Input((2,), name="scores")
    double = keras.layers.Rescaling(2.0)(scores)
    return keras.Model({"scores": scores}, double)


def batches(batch_size=3):
    records = {
        "id": ["a", "b", "c", "d"],
        "kind": KINDS,
        "label": [0, 1, 1, 1],
        "scores": np.array([[2, 0], [1, 0], [0, 3], [0.1, 0]], "float32"),
        "picture": np.zeros((4, 2, 2)),
    }
    return tf.data.Dataset.from_tensor_slices(records).batch(batch_size)


def test_predictions_stay_beside_their_records():
    predictions = kmmft.evaluation.predict_records(make_model(), batches())
    expected = 1 / (1 + np.exp([-4.0, -2.0, -6.0, -0.2]))
    np.testing.assert_allclose(predictions.confidences, expected, rtol=1e-6)
    assert predictions.classes.tolist() == [0, 0, 1, 0]
    assert set(predictions.records) == {"id", "kind", "label"}
    assert predictions.text("id") == ["a", "b", "c", "d"]
    metrics = predictions.metrics(CLASSES, groups="kind")
    assert metrics["accuracy"] == 0.5 and metrics["examples/odd"] == 2
    assert metrics["accuracy/odd"] == 0.0 and metrics["accuracy/even"] == 1.0


def test_inference_mode():
    scores = keras.Input((2,), name="scores")
    model = keras.Model({"scores": scores}, keras.layers.Dropout(0.9)(scores))
    predictions = kmmft.evaluation.predict_records(model, batches())
    assert predictions.confidences[2] == pytest.approx(1 / (1 + np.exp(-3.0)))


def test_two_replicas_answer_each_record_once(two_replicas):
    with two_replicas.scope():
        model = make_model()
    predictions = kmmft.evaluation.predict_records(model, batches())
    alone = kmmft.evaluation.predict_records(make_model(), batches())
    np.testing.assert_array_equal(predictions.probabilities, alone.probabilities)


def test_empty_split():
    with pytest.raises(ValueError, match=r"Received: an empty dataset"):
        kmmft.evaluation.predict_records(make_model(), batches().take(0))


PREDICTIONS = Predictions(
    np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.55, 0.45]]),
    {
        "id": np.array([b"a", b"b", b"c", b"d"], object),
        "note": np.array([b"one", b"two", b"\xff", b"four"], object),
        "label": np.array([0, 1, 1, 1]),
    },
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    features = kmmft.data.schema.labelled(text=False, class_names=CLASSES)
    pictures = {
        name: tf.io.encode_png(np.full((2, 2, 3), ord(name), np.uint8)).numpy()
        for name in "abcd"
    }
    records = [{"id": k, "image": v, "label": 0} for k, v in pictures.items()]
    path = write_records(tmp_path_factory.mktemp("notes"), features, {"test": records})
    return kmmft.data.open_source(path), pictures


def test_mistakes_are_shown_first_and_the_least_sure_foremost(source):
    source, pictures = source
    shown = kmmft.evaluation.show_examples(PREDICTIONS, source, "test", CLASSES, "note")
    assert [example.id for example in shown] == ["d", "b", "c", "a"]
    assert [example.correct for example in shown] == [False, False, True, True]
    assert [example.image for example in shown] == [pictures[k] for k in "dbca"]
    first = shown[0]
    assert (first.text, first.target, first.prediction) == ("four", "warm", "cold")
    assert first.confidence == 0.55
    assert shown[2].text == "\N{REPLACEMENT CHARACTER}"


def test_no_more_examples_than_records(source):
    shown = kmmft.evaluation.show_examples(
        PREDICTIONS, source[0], "test", CLASSES, "note", max_examples=99
    )
    assert len(shown) == 4


def test_printed_table(capsys):
    rows = [["is it [red]?", 0.9979, None], ["[/b]", 1234, 12.5]]
    kmmft.evaluation.print_table(Table("Test [all]", ["question", "a", "b"], rows))
    printed = capsys.readouterr().out
    for cell in ("Test [all]", "is it [red]?", "99.79 %", "-", "[/b]", "1,234", "12.5"):
        assert cell in printed


def test_tables_in_files_are_not_cut(capsys):
    cells = [
        "litert_int8_calibrated",
        *range(20),
        "is refused, since it loses too much",
    ]
    header = ["variant", *(f"column {number}" for number in range(20)), "refused"]
    table = Table("Test", header, [cells], note="Chosen: another one.")
    kmmft.evaluation.print_table(table)
    shown = capsys.readouterr().out
    assert cells[0] in shown and cells[-1] in shown and "column 19" in shown
    assert shown.endswith("Chosen: another one.\n")


@pytest.mark.parametrize(("label", "accuracy"), [(1, 1.0), (2, 0.5)])
def test_a_label_without_a_class_counts_as_wrong(label, accuracy):
    predictions = kmmft.evaluation.Predictions(
        np.array([[0.9, 0.1], [0.2, 0.8]]), {"label": np.array([0, label])}
    ).with_unknown_class()
    names = predictions.class_names(["red", "blue"])
    assert names == ["red", "blue", "(not in the vocabulary)"][: 2 + (label == 2)]
    assert predictions.metrics(names)["accuracy"] == accuracy
