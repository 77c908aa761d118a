"""A Keras model over image bytes and questions, exported, reloaded and refused."""

import json
import os
import pathlib
import stat
import subprocess
import sys

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.export import run_saved_model

ANSWERS = ["red", "grün", "yes"]
SPECS = {
    "image": tf.TensorSpec([None], tf.string),
    "question": tf.TensorSpec([None], tf.string),
}


class Answerer:
    """What a kmmft model offers: plain functions of raw tensors."""

    def __init__(self):
        image = keras.Input((8, 8, 3), name="image")
        token_ids = keras.Input((6,), dtype="int32", name="token_ids")
        pixels = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
        words = keras.layers.Embedding(16, 4)(token_ids)
        words = keras.layers.GlobalAveragePooling1D()(words)
        hidden = keras.layers.Concatenate()([pixels, words])
        hidden = keras.layers.Dense(256, activation="relu")(hidden)
        self.model = keras.Model([image, token_ids], keras.layers.Dense(3)(hidden))
        self.tokenizer = keras_hub.tokenizers.BertTokenizer(
            ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "is", "##t", "?"],
            sequence_length=6,
        )
        self.tokenize = tf.function(self.tokenizer)
        self.answers = keras.layers.StringLookup(vocabulary=ANSWERS, invert=True)

    def decode(self, encoded):
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.cast(tf.ensure_shape(image, (8, 8, 3)), tf.float32)

    def serve(self, image, question):
        images = tf.map_fn(self.decode, image, fn_output_signature=tf.float32)
        token_ids = tf.cast(self.tokenize(question), tf.int32)
        logits = self.model([images, token_ids])
        answer = self.answers(1 + tf.argmax(logits, -1))
        return {"logits": logits, "answer": answer}

    def serve_noisy(self, image, question):
        outputs = self.serve(image, question)
        noise = tf.constant([[0.0], [1.0], [0.0]]) * tf.random.uniform([3, 1])
        return {"answer": outputs["answer"], "logits": outputs["logits"] + noise}

    def count(self, question):
        return {"length": tf.strings.length(question), "echo": question}

    @property
    def weight_bytes(self):
        return sum(4 * int(np.prod(w.shape)) for w in self.model.weights)


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3))
    return tf.io.encode_png(pixels.astype("uint8")).numpy()


# The last image ends in zero bytes, which must survive the way there and back.
EXAMPLES = {
    "image": [picture(0), picture(1), picture(2) + bytes(3)],
    "question": [b"what is it?", b"", b"\xff not UTF-8\x00"],
}


@pytest.fixture(scope="module")
def answerer():
    return Answerer()


@pytest.fixture(scope="module")
def signatures(answerer):
    return {
        "serving_default": kmmft.export.Signature(answerer.serve, SPECS),
        "count": kmmft.export.Signature(
            answerer.count, {"question": SPECS["question"]}
        ),
    }


@pytest.fixture(scope="module")
def exported(answerer, signatures, tmp_path_factory):
    return kmmft.export.export_saved_model(
        tmp_path_factory.mktemp("runs") / "export",
        signatures,
        resources=[answerer.tokenizer, answerer.answers],
        examples=EXAMPLES,
    )


def test_writes_the_first_version_with_its_parity(exported):
    assert exported.name == "1"
    assert os.listdir(exported.parent) == ["1"]
    report = json.loads((exported / "assets.extra/parity.json").read_text())
    assert report["largest_absolute_difference"] == {
        "count": {"echo": 0.0, "length": 0.0},
        "serving_default": {
            "answer": 0.0,
            "logits": pytest.approx(0.0, abs=1e-6),
        },
    }
    assert report["rows"] == {"count": 3, "serving_default": 3}


def test_other_users_may_read_it(exported):
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(exported.stat().st_mode) == 0o777 & ~umask


def test_weights_are_stored_once(answerer, exported):
    stored = sum(f.stat().st_size for f in exported.glob("variables/*.data-*"))
    # Beside the weights there are only the tables, which are small.
    assert answerer.weight_bytes < stored < 1.1 * answerer.weight_bytes


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(str(exported))


@pytest.mark.parametrize("rows", [1, 3])
def test_any_batch_size_answers_as_the_model(answerer, loaded, rows):
    inputs = {key: tf.constant(value[:rows]) for key, value in EXAMPLES.items()}
    received = loaded.signatures["serving_default"](**inputs)
    expected = answerer.serve(**inputs)
    np.testing.assert_allclose(received["logits"], expected["logits"], atol=1e-5)
    best = np.argmax(expected["logits"], -1)
    assert received["answer"].numpy().tolist() == [ANSWERS[i].encode() for i in best]
    assert received["logits"].shape == (rows, 3)


def test_script_answers_a_person(answerer, exported, tmp_path):
    image = tmp_path / "picture.png"
    image.write_bytes(EXAMPLES["image"][0])
    command = [sys.executable, run_saved_model.__file__, str(exported)]
    command += ["--image", str(image), "--question", "what is it?"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    expected = answerer.serve(
        tf.constant(EXAMPLES["image"][:1]), tf.constant(["what is it?"])
    )
    answers = dict(line.split(": ", 1) for line in shown.splitlines())
    assert json.loads(answers["answer"]) == expected["answer"][0].numpy().decode()
    np.testing.assert_allclose(
        json.loads(answers["logits"]), expected["logits"][0], atol=1e-5
    )


def test_failed_parity_leaves_nothing_and_names_the_row(answerer, tmp_path):
    noisy = kmmft.export.Signature(answerer.serve_noisy, SPECS)
    with pytest.raises(
        ValueError, match="output 'logits' of signature 'serving_default', input row 1"
    ):
        kmmft.export.export_saved_model(
            tmp_path / "export",
            {"serving_default": noisy},
            resources=[answerer.tokenizer, answerer.answers],
            examples=EXAMPLES,
        )
    assert os.listdir(tmp_path) == []


def test_refuses_to_overwrite(exported, signatures):
    before = {p: p.stat().st_mtime_ns for p in exported.rglob("*")}
    with pytest.raises(ValueError, match="must not be overwritten"):
        kmmft.export.export_saved_model(
            exported.parent, signatures, examples=EXAMPLES, version=1
        )
    assert {p: p.stat().st_mtime_ns for p in exported.rglob("*")} == before


@pytest.fixture
def no_process(monkeypatch):
    """Lets the parity check pass without a process, where it is not in question."""
    monkeypatch.setattr("kmmft.export.saved_model._check", lambda *arguments: None)


def test_takes_the_next_free_version(no_process, signatures, answerer, tmp_path):
    for name in ("2", "9", "best"):
        (tmp_path / name).mkdir()
    directory = kmmft.export.export_saved_model(
        tmp_path,
        {"count": signatures["count"]},
        examples={"question": ["a"]},
    )
    assert directory == tmp_path / "10"


def test_missing_resource_is_named(no_process, signatures, answerer, tmp_path):
    with pytest.raises(ValueError, match="held by one of `resources`"):
        kmmft.export.export_saved_model(
            tmp_path / "export",
            signatures,
            resources=[answerer.tokenizer],
            examples=EXAMPLES,
        )
    assert os.listdir(tmp_path) == []


def test_tables_are_found_without_tracing_the_models_around_them(
    no_process, answerer, signatures, tmp_path
):
    calls = []

    class Holder(keras.layers.Layer):
        def __init__(self, held):
            super().__init__()
            self.held = held

        def call(self, x):
            calls.append(x)
            return x

    inputs = keras.Input((1,))
    holders = Holder([answerer.tokenizer]), Holder({"a": answerer.answers})
    model = keras.Model(inputs, holders[1](holders[0](inputs)))
    calls.clear()
    directory = kmmft.export.export_saved_model(
        tmp_path, signatures, resources=[model], examples=EXAMPLES
    )
    assert not calls
    served = tf.saved_model.load(str(directory)).signatures["serving_default"]
    inputs = {key: tf.constant(value) for key, value in EXAMPLES.items()}
    expected = answerer.serve(**inputs)["answer"].numpy().tolist()
    assert served(**inputs)["answer"].numpy().tolist() == expected


def test_mirrored_variables_are_exported(no_process, two_replicas, tmp_path):
    with two_replicas.scope():
        dense = keras.layers.Dense(2)
        dense.build((None, 3))
    signature = kmmft.export.Signature(
        lambda x: {"y": dense(x)}, {"x": tf.TensorSpec([None, 3], tf.float32)}
    )
    x = np.ones((2, 3), "float32")
    directory = kmmft.export.export_saved_model(
        tmp_path, {"serving_default": signature}, examples={"x": x}
    )
    loaded = tf.saved_model.load(str(directory)).signatures["serving_default"]
    np.testing.assert_allclose(loaded(x=tf.constant(x))["y"], dense(x), atol=1e-6)


@pytest.mark.parametrize("version", [0, -1, 1.5, "1"])
def test_bad_version(signatures, tmp_path, version):
    with pytest.raises(ValueError, match="whole number from 1"):
        kmmft.export.export_saved_model(
            tmp_path, signatures, examples=EXAMPLES, version=version
        )


def test_bad_path(signatures, tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ValueError, match="must be a directory"):
        kmmft.export.export_saved_model(
            tmp_path / "file", signatures, examples=EXAMPLES
        )
    assert (tmp_path / "file").read_text() == "kept"


def test_missing_examples(signatures, tmp_path):
    with pytest.raises(ValueError, match=r"none of \['image'\]"):
        kmmft.export.export_saved_model(
            tmp_path / "export", signatures, examples={"question": ["a"]}
        )
    assert os.listdir(tmp_path) == []


def test_no_signatures(tmp_path):
    with pytest.raises(ValueError, match="needs a signature"):
        kmmft.export.export_saved_model(tmp_path, {}, examples={})


@pytest.mark.parametrize(
    "outputs", [lambda x: x, lambda x: {0: x}, lambda x: {"n": tf.reduce_sum(x)}]
)
def test_a_signature_returns_named_batches(outputs):
    signature = kmmft.export.Signature(outputs, {"x": tf.TensorSpec([None])})
    with pytest.raises(ValueError, match="dict from names to tensors with a batch"):
        signature.trace("serving_default")


def test_one_tensor_under_two_names():
    signature = kmmft.export.Signature(
        lambda x: {"a": x, "b": x}, {"x": tf.TensorSpec([None])}
    )
    outputs = signature.trace("serving_default")(x=tf.constant([1.0]))
    assert outputs["a"].numpy() == outputs["b"].numpy() == 1.0


def test_script_stands_alone():
    source = pathlib.Path(run_saved_model.__file__).read_text()
    assert "import kmmft" not in source and "from kmmft" not in source
