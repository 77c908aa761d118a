"""Variants of a model that reads an image and a table's row, some of them absent."""

import numpy as np
import pytest

import kmmft
from kmmft.export import parity
from kmmft.export.variants import export_variants, numeric_part
from kmmft.serving.model_versions import ModelVersions
from tests.export.test_export_model import answers_here
from tests.export.variants.test_export_variants import exported_once
from tests.models.test_tabular_classifier import ROWS, make_model

pytestmark = pytest.mark.slow

# The float32 ONNX file is compared with the model before its weights become int8.
KINDS = ("frozen", "int8", "litert_float32", "onnx_int8")


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def answered(model, tmp_path_factory):
    """The variants, and by name what each answered."""
    answers, functions = [], type(model).serving_functions

    def only_main(self):
        return {"serving_default": functions(self)["serving_default"]}

    def closeness(answer):
        answers.append(answer(ROWS))
        expected = model.classify(ROWS)["probabilities"]
        return 1 - np.abs(answers[-1]["probabilities"] - expected).max()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "answers_in_fresh_process", answers_here)
        patch.setattr(type(model), "serving_functions", only_main)
        patch.setattr(export_variants, "_TIMED_SECONDS", 0.01)
        once = exported_once(tmp_path_factory.mktemp("once"))
        patch.setattr(numeric_part, "export_preprocessing", once)
        table = kmmft.export.export_variants(
            model,
            tmp_path_factory.mktemp("variants"),
            ROWS,
            closeness,
            variants=KINDS,
            batch_sizes=(1,),
            max_accuracy_drop=0.05,
        )
    assert [variant.refused for variant in table] == [""] * len(table)
    names = [variant.name for variant in table]
    return table, dict(zip(names, answers, strict=True))


@pytest.mark.parametrize("kind", ["float32", *KINDS])
def test_answers_are_the_models(kind, model, answered):
    _, answers = answered
    expected = model.classify(ROWS)
    exact = "int8" not in kind
    for name in ("probabilities", "probability"):
        np.testing.assert_allclose(
            answers[kind][name], expected[name], atol=1e-5 if exact else 0.05
        )
    assert answers[kind]["error"].tolist() == [b""] * 4
    assert answers[kind]["label"].tolist() == expected["label"].tolist()


@pytest.mark.parametrize("kind", ["frozen", "onnx_int8"])
def test_a_server_takes_plain_numbers(kind, answered):
    table, answers = answered
    (base,) = (variant.directory for variant in table if variant.name == kind)
    served = ModelVersions(base).choose(version=1)
    assert set(served.inputs("serving_default")) == set(ROWS)
    raw = {name: np.array(values, object) for name, values in ROWS.items()}
    raw["age"] = raw["age"].astype("float32")
    found = served.run("serving_default", raw)["probabilities"]
    np.testing.assert_allclose(found, answers[kind]["probabilities"], atol=1e-6)


def test_a_row_that_was_prepared_before(model):
    table = model.encoders["table"]
    raw = {name: np.array(values, object) for name, values in ROWS.items()}
    raw["age"] = raw["age"].astype("float32")
    given = model.preprocess({**raw, "image": raw["image"]})
    own = {name: raw.pop(name) for name in table.columns}
    present = {"table_present": given["table_present"]}
    prepared = model.preprocess({**raw, "table": table.preprocess(own), **present})
    for name, value in given.items():
        np.testing.assert_array_equal(prepared[name], value)
    with pytest.raises(ValueError, match="Raw inputs must be given"):
        model.preprocess({**raw, **own, "table": table.preprocess(own), **present})
