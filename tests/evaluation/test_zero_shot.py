import keras
import numpy as np
import pytest

import kmmft
from kmmft.evaluation import (
    Predictions,
    ZeroShotEvaluator,
    zero_shot_metrics,
    zero_shot_predictions,
)
from tests.evaluation.towers import (
    COLOURS,
    ColourModel,
    make_model,
    write_captioned,
    write_labelled,
)

NAMES = [*COLOURS]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Six pictures, of which the last one is labelled wrongly."""
    path = write_labelled(
        tmp_path_factory.mktemp("labelled"),
        ["red", "red", "red", "green", "blue", "grey"],
        [0, 0, 0, 1, 2, 2],
        NAMES,
    )
    return kmmft.data.open_source(path)


def test_numbers_by_hand(source):
    evaluator = ZeroShotEvaluator(
        source, "test", templates=("a photo of {}",), top_k=3, batch_size=4
    )
    metrics = evaluator.evaluate(ColourModel())
    assert metrics["accuracy"] == pytest.approx(5 / 6)
    # Grey occurs among the answers only: red 3/3, green 1/1, blue 1/2.
    assert metrics["balanced_accuracy"] == pytest.approx((1 + 1 + 0.5) / 3)
    # The other three are tied for the second and third place.
    assert metrics["top_3_accuracy"] == pytest.approx((5 + 2 / 3) / 6)
    low, high = kmmft.evaluation.wilson_interval(5, 6)
    assert (metrics["accuracy_low"], metrics["accuracy_high"]) == (low, high)
    assert evaluator.metric_names() == [*metrics]


def test_probabilities_are_of_scaled_cosines(source):
    predictions = zero_shot_predictions(
        ColourModel(), source, "test", templates=("{}",), batch_size=4
    )
    expected = np.exp(10.0) / (np.exp(10.0) + 3)
    assert predictions.confidences == pytest.approx(np.full(6, expected))
    assert predictions.classes.tolist() == [0, 0, 0, 1, 2, 3]
    assert predictions.text("id") == [f"r{i}" for i in range(6)]


def test_against_scikit_learn():
    """`top_k_accuracy_score` and `balanced_accuracy_score` of scikit-learn 1.9.1."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(6), 50)
    labels = random.choice([0, 1, 2, 4, 5], 50)
    metrics = zero_shot_metrics(
        Predictions(probabilities, {"label": labels}), list("abcdef"), top_k=3
    )
    assert metrics["top_3_accuracy"] == pytest.approx(0.52)
    assert metrics["balanced_accuracy"] == pytest.approx(0.12651515151515152)


def test_a_model_without_training_agrees_with_its_vectors(source):
    keras.utils.set_random_seed(0)
    model = make_model()
    templates = ("a photo of {}", "{} dot")
    predictions = zero_shot_predictions(model, source, "test", None, templates)
    classes = [
        np.mean(
            [model.encode("text", [t.replace("{}", name)])[0] for t in templates], 0
        )
        for name in NAMES
    ]
    classes = np.array(classes) / np.linalg.norm(classes, axis=1, keepdims=True)
    images = [record["image"] for record in kmmft.data.first_records(source, "test", 6)]
    logits = model.encode("image", images) @ classes.T / 0.07
    odds = np.exp(logits)
    np.testing.assert_allclose(
        predictions.probabilities, odds / odds.sum(axis=1, keepdims=True), rtol=1e-4
    )


def test_templates_are_those_of_clip():
    assert len(kmmft.evaluation.TEMPLATES) == 7
    assert all(template.count("{}") == 1 for template in kmmft.evaluation.TEMPLATES)


def test_no_top_k_where_there_are_no_more_classes(source):
    metrics = ZeroShotEvaluator(source, "test", top_k=5).evaluate(ColourModel())
    assert "top_5_accuracy" not in metrics and "accuracy" in metrics


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["red", "green", "blue"], "each of the 4 classes.*Received: 3 names"),
        (["red", "green", "blue", "red"], r"repeated: \['red'\]"),
    ],
)
def test_class_names_must_fit(source, names, message):
    with pytest.raises(ValueError, match=message):
        ZeroShotEvaluator(source, "test", class_names=names)


def test_records_without_label(tmp_path):
    with pytest.raises(ValueError, match="must have a `label`"):
        ZeroShotEvaluator(write_captioned(tmp_path), "test", class_names=["a"])


def test_template_without_a_place_for_the_class(source):
    with pytest.raises(ValueError, match="Each template needs"):
        zero_shot_predictions(make_model(), source, "test", templates=("a photo",))
