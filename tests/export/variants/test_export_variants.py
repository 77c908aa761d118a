"""All variants of one tiny model, measured once for the module."""

import json
import pathlib
import shutil
import sys

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.export import parity
from kmmft.export.variants import (
    export_variants,
    numeric_part,
    onnx_model,
    small_weights,
)
from kmmft.export.variants.numeric_part import NumericPart
from kmmft.export.variants.small_weights import quantise_int8
from kmmft.serving.model_versions import ModelVersions
from tests.export.test_export_model import answers_here
from tests.models.test_fusion_classifier import make_model, png

RAW = {
    "image": [png(int(v)) for v in np.linspace(0, 255, 12)],
    "question": ["what color?", "red?", "", "what"] * 3,
}
INPUTS = ["image", "question_padding_mask", "question_token_ids"]
WITH_A_BAD_ROW = {
    "image": [*RAW["image"], b"not an image"],
    "question": [*RAW["question"], "red?"],
}
KINDS = (
    "frozen",
    "float16",
    "int8",
    "litert_float32",
    "litert_int8_calibrated",
    "onnx",
    "onnx_int8",
)


@pytest.fixture(scope="module")
def model():
    return make_model(hidden_dims=(8,))


@pytest.fixture(scope="module")
def patch(model, tmp_path_factory):
    functions = type(model).serving_functions

    def only_main(self):
        return {"serving_default": functions(self)["serving_default"]}

    with pytest.MonkeyPatch.context() as patch:
        # What is tested where exports are: a fresh process, the other signatures.
        patch.setattr(parity, "answers_in_fresh_process", answers_here)
        patch.setattr(type(model), "serving_functions", only_main)
        patch.setattr(small_weights, "_FEWEST_VALUES", 16)
        patch.setattr(export_variants, "_TIMED_SECONDS", 0.01)
        patch.setattr(
            numeric_part,
            "export_preprocessing",
            exported_once(tmp_path_factory.mktemp("once")),
        )
        yield patch


def exported_once(folder):
    """The preprocessing is the same for all kinds."""
    export = numeric_part.export_preprocessing

    def export_or_copy(model, path, examples):
        if not (folder / "1").exists():
            export(model, folder, examples)
        shutil.copytree(folder, path)
        return path / "1"

    return export_or_copy


@pytest.fixture(scope="module")
def answers():
    """What each variant answered, in order."""
    return []


@pytest.fixture(scope="module")
def table(model, patch, answers, tmp_path_factory):
    expected = model.classify(RAW)["probabilities"]

    def closeness(answer):
        answers.append(answer(WITH_A_BAD_ROW))
        with pytest.raises(ValueError, match="same number of rows"):
            answer({"image": [], "question": []})
        return 1 - np.abs(answers[-1]["probabilities"][:-1] - expected).max()

    return kmmft.export.export_variants(
        model,
        tmp_path_factory.mktemp("variants"),
        RAW,
        closeness,
        variants=KINDS,
        batch_sizes=(1, 8),
        max_accuracy_drop=0.05,
    )


@pytest.fixture(scope="module")
def part(model, table):
    """What the ONNX variant was converted of."""
    written = pathlib.Path(row(table, "onnx").directory, "1/preprocess/1")
    return NumericPart(*numeric_part._numeric_function(model), written)


def rename_erfc(graph, node, name, args):
    node.type = "Erf"


def row(table, name):
    return next(variant for variant in table if variant.name == name)


def test_the_table(table):
    assert [variant.name for variant in table] == ["float32", *KINDS]
    assert [variant.refused for variant in table] == [""] * len(table)
    assert table[0].score == pytest.approx(1, abs=1e-5) and table[0].drop == 0
    for variant in table:
        assert set(variant.latency_ms) == {1, 8}
        assert variant.drop == pytest.approx(table[0].score - variant.score)
        assert variant.drop < (0.05 if "int8" in variant.name else 0.01)
    folder = table[0].directory.rsplit("/", 1)[0]
    assert kmmft.export.read_variants(folder) == table


def rounded(weight, kind):
    if kind == "float16":
        return weight.astype(np.float16).astype(np.float32)
    if weight.ndim < 2 or weight.size < 16:
        return weight
    values, scale = quantise_int8(weight)
    return values * scale


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_answers_are_those_of_rounded_weights(kind, model, table, answers):
    directory = row(table, kind).directory
    answer = answers[[variant.name for variant in table].index(kind)]
    before = model.get_weights()
    try:
        model.set_weights([rounded(weight, kind) for weight in before])
        expected = model.classify(RAW)
    finally:
        model.set_weights(before)
    np.testing.assert_allclose(
        answer["probabilities"][:-1], expected["probabilities"], atol=1e-5
    )
    assert answer["label"][:-1].tolist() == expected["label"].tolist()
    file = f"{directory}/1/variables/variables"
    stored = tf.train.load_checkpoint(file).get_variable_to_dtype_map()
    kinds = {str(dtype.name) for name, dtype in stored.items() if "model_var" in name}
    # Beside int8: scales and small weights.
    assert kinds == ({"int8", "float32"} if kind == "int8" else {kind})


def test_int8_of_numpy():
    weight = np.random.default_rng(0).normal(size=(64, 3, 32)).astype("f4")
    weight *= np.geomspace(1e-3, 1, 32)
    weight[:, :, 5] = 0
    values, scale = quantise_int8(weight)
    assert values.dtype == np.int8 and scale.shape == (1, 1, 32)
    expected = np.abs(weight).reshape(-1, 32).max(axis=0) / 127
    expected[5] = 1
    np.testing.assert_allclose(scale.ravel(), expected, rtol=1e-6)
    assert np.all(np.abs(values * scale - weight) <= scale / 2 * (1 + 1e-5))


def test_weights_that_float16_cannot_hold_stay(patch):
    variable = keras.Variable(np.array([[1.0, 1e5]], "f4"))
    assert small_weights._store(variable, "float16") is None
    kept = small_weights._store(variable, "bfloat16").read()
    expected = variable.numpy().astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(kept, expected)
    variable.assign([[np.nan, 0.0]])
    with pytest.raises(ValueError, match="Weights must be finite"):
        small_weights._store(variable, "bfloat16")


def test_variants_answer_as_the_model_and_a_bad_row_spoils_no_other(
    model, table, answers
):
    expected = model.classify(RAW)
    for name in ("float32", "frozen", *KINDS[3:]):
        got = answers[[variant.name for variant in table].index(name)]
        assert got["label"][-1] == b"" and not got["probabilities"][-1].any()
        assert got["error"][-1].startswith(b"image is not a JPEG")
        assert got["error"][:-1].tolist() == [b""] * 12
        exact = "int8" not in name
        for key in ("probabilities", "probability"):
            np.testing.assert_allclose(
                got[key][:-1], expected[key], atol=1e-5 if exact else 0.05
            )
        if exact:
            assert got["label"][:-1].tolist() == expected["label"].tolist()


@pytest.mark.parametrize("kind", ["litert_float32", "onnx", "frozen"])
def test_a_server_answers_with_a_variant(kind, table, answers):
    base = row(table, kind).directory
    served = ModelVersions(base).choose(version=1)
    raw = {k: np.array(v, object) for k, v in WITH_A_BAD_ROW.items()}
    answered = served.run("serving_default", raw)
    expected = answers[[variant.name for variant in table].index(kind)]
    specs = served.outputs("serving_default")
    assert set(answered) == set(expected) == set(specs)
    for name, value in answered.items():
        if value.dtype == object:
            assert value.tolist() == expected[name].tolist()
            assert specs[name].dtype == tf.string
        else:
            np.testing.assert_allclose(value, expected[name], atol=1e-6)
            assert specs[name].is_compatible_with(tf.constant(value))
    empty = served.run("serving_default", {k: v[:0] for k, v in raw.items()})
    assert {len(value) for value in empty.values()} == {0}
    assert set(served.inputs("serving_default")) == {"image", "question"}


def test_onnx_files_take_the_models_inputs_and_hold_int8(table):
    import onnx

    for name in ("onnx", "onnx_int8"):
        directory = pathlib.Path(row(table, name).directory, "1")
        loaded = onnx.load(directory / "model.onnx")
        onnx.checker.check_model(loaded, full_check=True)
        # The ViT's position ids are no input.
        asked = sorted(given.name for given in loaded.graph.input)
        described = json.loads((directory / "variant.json").read_text())
        assert asked == described["inputs"] == INPUTS
        difference = described["largest_absolute_difference"]
        assert difference < (1e-5 if name == "onnx" else 0.05)
        operations = {node.op_type for node in loaded.graph.node}
        assert "Erf" in operations and "Erfc" not in operations
        assert ("MatMulInteger" in operations) == (name == "onnx_int8")
        assert ("Gemm" in operations) == (name == "onnx")


@pytest.mark.parametrize(
    "handler, message",
    [
        # What tf2onnx does by itself, and operations that mean something else.
        (None, "onnxruntime must open an ONNX file. Received: .*Erfc"),
        (rename_erfc, "must answer as the model does, .*Received: a difference of"),
    ],
)
def test_a_wrong_onnx_file_is_found(handler, message, part, tmp_path, monkeypatch):
    handlers = {"Erfc": (handler, [])} if handler else {}
    monkeypatch.setattr(onnx_model, "_HANDLERS", handlers)
    monkeypatch.setattr(onnx_model, "write_numeric_part", lambda *args: part)
    (tmp_path / "1").mkdir()
    with pytest.raises(ValueError, match=message):
        kmmft.export.write_onnx(None, tmp_path, RAW, "onnx")


def test_onnx_without_its_extra_is_refused_by_name(
    model, table, patch, tmp_path, monkeypatch
):
    directory = row(table, "onnx").directory
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    _, refused = kmmft.export.export_variants(
        model,
        tmp_path,
        RAW,
        lambda answer: 1.0,
        variants=["onnx"],
        baseline=table[0].directory,
        batch_sizes=(1,),
    )
    assert refused.refused.endswith("ONNX variants need: pip install 'kmmft[onnx]'")
    assert "\n" not in refused.refused
    with pytest.raises(ImportError, match=r"pip install 'kmmft\[onnx\]'"):
        kmmft.export.load_variant(directory)
    with pytest.raises(ValueError, match="must be a version to serve"):
        ModelVersions(directory)


def test_what_loses_too_much_is_removed(model, table, patch, tmp_path):
    scores = iter([0.9, 0.8949, 0.5])

    def impossible(*args, **kwargs):
        raise ValueError("no such operation")

    def written_before(model, path, examples, kind):
        shutil.copytree(row(table, kind).directory, path)

    patch.setattr(export_variants, "export_small_weights", written_before)
    patch.setattr(export_variants, "write_litert", impossible)
    options = {"baseline": table[0].directory, "batch_sizes": (1,)}
    kept, float16, litert = kmmft.export.export_variants(
        model,
        tmp_path,
        RAW,
        lambda answer: next(scores),
        variants=["float16", "litert_int8"],
        **options,
    )
    assert kept.directory == table[0].directory
    assert "score 0.8949 is 0.0051 below float32" in float16.refused
    assert float16.directory is None and float16.score == 0.8949
    assert litert.refused == "no such operation" and litert.size_mb is None
    assert [file.name for file in tmp_path.iterdir()] == ["variants.json"]
    with pytest.raises(ValueError, match=r"finite number. Received: nan"):
        kmmft.export.export_variants(
            model, tmp_path, RAW, lambda answer: np.nan, variants=[], **options
        )


def test_choice_within_a_budget():
    rows = [("a", 100.0, 20.0, 0.95), ("b", 50.0, 22.0, 0.94), ("c", 25.0, 5.0, 0.94)]
    table = [
        kmmft.export.Variant(name, name, size, {1: ms}, score, 0.0)
        for name, size, ms, score in rows
    ] + [kmmft.export.Variant("d", refused="no")]
    choose = kmmft.export.choose_variant
    assert choose(table).name == "a"
    assert choose(table, max_size_mb=60).name == "c"
    assert choose(table, max_latency_ms=10).name == "c"
    with pytest.raises(ValueError, match=r"max_size_mb=1; there are a \(100.0 MB"):
        choose(table, max_size_mb=1)
    with pytest.raises(ValueError, match="one that was measured"):
        choose(table, batch_size=8)


def test_what_is_wrong_is_named(model, tmp_path):
    def export(**changed):
        kwargs = {"examples": RAW, "evaluate": lambda answer: 1.0, **changed}
        return kmmft.export.export_variants(model, tmp_path, **kwargs)

    with pytest.raises(ValueError, match=r"different ones of .*Received: \['int4'\]"):
        export(variants=["int4"])
    with pytest.raises(ValueError, match=r"must not be negative. Received: -1"):
        export(max_accuracy_drop=-1)
    with pytest.raises(ValueError, match=r"none of \['image'\]"):
        export(examples={"question": ["red?"]})
    with pytest.raises(ValueError, match="must be an exported model"):
        kmmft.export.load_variant(tmp_path)
    with pytest.raises(ValueError, match="variants that were measured"):
        kmmft.export.read_variants(tmp_path)
    with pytest.raises(ValueError, match="one of litert_float32"):
        kmmft.export.write_litert(model, tmp_path, RAW, "int8")
    with pytest.raises(ValueError, match="must be 'frozen'"):
        kmmft.export.export_frozen(model, tmp_path, RAW, "int8")
    with pytest.raises(ValueError, match="one of onnx, onnx_int8"):
        kmmft.export.write_onnx(model, tmp_path, RAW, "int8")
    with pytest.raises(ValueError, match="one of float16"):
        kmmft.export.export_small_weights(model, tmp_path, RAW, "int4")
