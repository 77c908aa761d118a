import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.evaluation import WrittenAnswers
from tests.models.test_fusion_generator import make_model, raw_of

RECORDS = {
    "answer": np.array([b"T-shirt", b"red", b"a", b"2"], object),
    "question_type": np.array([b"what", b"color", b"what", b"count"], object),
}


def answers_of(texts, **records):
    records = {**RECORDS, **records}
    return WrittenAnswers.from_texts(texts, np.full(4, 0.5), records)


def test_equal_in_normal_form_is_right():
    answers = answers_of(["t - shirt", "Red.", "the", "two"])
    metrics = answers.metrics(answers.class_names, "question_type")
    # `a` and `the` are both nothing in VQA's normal form, but not the same answer.
    assert metrics["accuracy"] == 0.75
    assert metrics["accuracy/what"] == 0.5 and metrics["accuracy/count"] == 1.0
    assert answers.class_names == ["2", "T-shirt", "a", "red", "the"]
    assert answers.classes.tolist() == [1, 3, 4, 0]
    assert answers.records["label"].tolist() == [1, 3, 2, 0]


def test_nothing_written_is_wrong():
    answers = answers_of(["", "", "", ""])
    assert answers.metrics(answers.class_names)["accuracy"] == 0.0
    assert answers.class_names[answers.classes[0]] == "(nothing)"


def serialised(*lists):
    return np.array([tf.io.serialize_tensor(x).numpy() for x in lists], object)


def test_agreement_with_people():
    people = serialised(
        ["t shirt"] * 10,
        ["red"] * 2 + ["dark red"] * 8,
        ["b"] * 10,
        ["2"] * 9 + ["3"],
    )
    answers = answers_of(["t - shirt", "red", "a", "two"], answers=people)
    measured = kmmft.evaluation.people_agreement(answers, answers.class_names)
    # By hand: all; (2 * 1/3 + 8 * 2/3) / 10; none; all, without any one person.
    assert measured["vqa_accuracy"] == pytest.approx((1 + 0.6 + 0 + 1) / 4)
    assert kmmft.evaluation.people_agreement(answers_of(["a"] * 4), ["a"]) == {}


def test_each_text_has_its_probability():
    model = make_model()
    records = {"answer": RECORDS["answer"], "id": np.array(["a", "b", "c", "d"])}
    inputs = model.preprocess(raw_of(model))
    dataset = tf.data.Dataset.from_tensor_slices({**inputs, **records}).batch(3)
    answers = kmmft.evaluation.write_answers(model, dataset)
    assert answers.texts == model.generate(raw_of(model))
    assert set(answers.records) == {"answer", "id", "label"}
    taught, words, weights = model.teach(inputs, tf.constant(answers.texts))
    logits = model(taught).numpy().astype("float64")
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    of_words = np.take_along_axis(chances, words.numpy()[:, :, None], -1)[:, :, 0]
    expected = np.where(weights.numpy() > 0, of_words, 1).prod(1)
    np.testing.assert_allclose(answers.confidences, expected, rtol=1e-4)
    with pytest.raises(ValueError, match="an empty dataset"):
        kmmft.evaluation.write_answers(model, dataset.take(0))
