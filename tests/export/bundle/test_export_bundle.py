"""One model exported with its bundle, asked in process, over REST and over gRPC."""

import concurrent.futures
import http.server
import importlib.util
import json
import re
import threading

import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.export.run_saved_model import from_json, to_json
from tests.models.test_dual_encoder import make_model
from tests.models.test_fusion_classifier import png

TEXTS = ["what color", "red", "what red ?"]
RAW = {"image": [png(3), png(200), png(90)], "text": TEXTS}
CLASSES = ["red", "color"]
BROKEN = b"\xff\xd8\xff\xe0 not a picture"


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    card = kmmft.export.ModelCard(
        "Pictures and words",
        metrics={"test/recall": 0.5, "test/recall_std": 0.04, "forgetting/drift": 0.1},
        base_weights={"text": "demo"},
        licences={"text": "Apache-2.0"},
    )
    return kmmft.export.export_bundle(
        model,
        tmp_path_factory.mktemp("runs") / "export",
        RAW,
        name="tiny",
        card=card,
        class_names=CLASSES,
        templates=["what {}"],
        max_pixels=1000,
        training_sample={"image": RAW["image"] * 20, "text": TEXTS * 20},
    )


def test_the_training_datas_distribution_is_kept(exported):
    path = exported / "assets.extra/drift_reference.json"
    (signature, statistics), *_ = json.loads(path.read_text()).items()
    assert signature == "serving_default"
    assert {"text/words", "image/bytes", "similarity"} <= set(statistics)


@pytest.fixture(scope="module")
def served(exported):
    return tf.saved_model.load(str(exported)).signatures


def test_every_signature_and_output_was_compared(exported, served):
    report = json.loads((exported / "assets.extra/parity.json").read_text())
    compared = report["largest_absolute_difference"]
    assert (
        set(compared)
        == set(served)
        == {
            "serving_default",
            "encode_image",
            "encode_text",
            "rank",
            "zero_shot",
            "zero_shot_by_embedding",
        }
    )
    for name, outputs in compared.items():
        assert set(outputs) == set(served[name].structured_outputs)
        assert max(outputs.values()) < 1e-5
    assert "FastWordpieceTokenizeWithOffsets" in report["tensorflow_text_ops"]


def test_weights_are_stored_once(model, exported):
    stored = sum(f.stat().st_size for f in exported.glob("variables/*.data-*"))
    weights = sum(4 * int(np.prod(w.shape)) for w in model.weights)
    # Beside the weights there are only the words and the classes' vectors.
    assert weights < stored < 1.5 * weights


def test_a_bad_image_spoils_no_other_row(model, served):
    answer = served["encode_image"](image=tf.constant([png(3), BROKEN, png(3, 40)]))
    vectors = answer["embedding"].numpy()
    np.testing.assert_allclose(vectors[0], model.encode_image([png(3)])[0], atol=1e-5)
    assert not np.any(vectors[1:])
    errors = answer["error"].numpy()
    assert errors[0] == b"" and errors[1].startswith(b"image cannot be decoded")
    assert errors[2].startswith(b"image has 1600 pixels; at most 1000")


def test_empty_batches(served):
    for function in served.values():
        _, specs = function.structured_input_signature
        inputs = {
            name: tf.zeros([0, *(n or 2 for n in spec.shape[1:])], spec.dtype)
            for name, spec in specs.items()
        }
        for value in function(**inputs).values():
            assert value.shape[0] == 0


def test_rank_orders_the_texts_of_each_row(model, served):
    texts = [[*TEXTS, ""], ["red", "", "", "what"]]
    images = [png(3), png(200)]
    answer = served["rank"](image=tf.constant(images), text=tf.constant(texts))
    for row, image in enumerate(images):
        real = [place for place, text in enumerate(texts[row]) if text]
        cosines = np.full(4, -1.0, "float32")
        vectors = model.encode_text([texts[row][place] for place in real])
        cosines[real] = model.similarity(model.encode_image([image]), vectors)[0]
        np.testing.assert_allclose(answer["similarity"][row], cosines, atol=1e-5)
        logits = np.exp(cosines[real] / 0.07)
        expected = np.zeros(4)
        expected[real] = logits / logits.sum()
        np.testing.assert_allclose(answer["probability"][row], expected, atol=1e-4)
        order = answer["order"].numpy()[row]
        assert sorted(order[: len(real)]) == real
        assert np.all(np.diff(answer["similarity"].numpy()[row][order]) <= 0)
        assert answer["best"].numpy()[row].decode() == texts[row][order[0]]


def test_inputs_of_unequal_length_are_refused(served):
    with pytest.raises(tf.errors.InvalidArgumentError, match="equally many rows"):
        served["rank"](image=tf.constant(RAW["image"]), text=tf.constant([TEXTS]))


def test_zero_shot_with_stored_and_with_given_vectors(model, served):
    classes = model.zero_shot_classifier(CLASSES, ["what {}"])
    images = tf.constant(RAW["image"])
    answer = served["zero_shot"](image=images)
    cosines = model.similarity(model.encode_image(RAW["image"]), classes)
    expected = tf.nn.softmax(cosines / 0.07)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-4)
    best = [CLASSES[i].encode() for i in cosines.argmax(axis=1)]
    assert answer["label"].numpy().tolist() == best
    # As a server fills up: a vector of zeros is no class.
    padded = np.concatenate([classes, np.zeros((1, 4), "float32")])
    given = served["zero_shot_by_embedding"](
        image=images, class_embedding=tf.constant([padded] * 3)
    )
    np.testing.assert_allclose(given["probabilities"][:, :2], expected, atol=1e-4)
    assert not np.any(given["probabilities"][:, 2])
    assert given["index"].numpy().tolist() == cosines.argmax(axis=1).tolist()


def test_warm_up_requests_are_those_of_tensorflow_serving(exported, served):
    from tensorflow_serving.apis import prediction_log_pb2

    file = exported / "assets.extra/tf_serving_warmup_requests"
    rows = {}
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == "tiny"
        name = request.model_spec.signature_name
        inputs = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
        rows.setdefault(name, []).append(len(next(iter(inputs.values()))))
        specs = served[name].structured_input_signature[1]
        assert set(inputs) == set(specs)
        for key, spec in specs.items():
            assert spec.is_compatible_with(tf.constant(inputs[key]))
    assert rows == {name: [1, 3] for name in served}


def test_model_card(exported):
    text = (exported / "README.md").read_text()
    assert "| test/recall | 0.5 | ± 0.04 |" in text
    assert "| drift | 0.1 |" in text
    assert "| text encoder | demo | Apache-2.0 |" in text
    assert "at most 1,000 pixels" in text and "`text`: 6 tokens" in text
    assert re.search(r"latency, 32 rows \| \d+\.\d ms", text)
    assert "| zero_shot | label | 0 |" in text
    assert "`encode_text`: `text` string (batch,) → `embedding` float32" in text


# === The generated client, with the protos and the addresses of the real server ===
@pytest.fixture(scope="module")
def client_module(exported):
    file = exported.parent / "serving/client.py"
    assert "kmmft" not in re.sub(r'""".*?"""', "", file.read_text(), flags=re.DOTALL)
    spec = importlib.util.spec_from_file_location("generated_client", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def grpc_address(served):
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            spec = request.model_spec
            if spec.version_label not in ("", "stable"):
                context.abort(grpc.StatusCode.NOT_FOUND, f"no {spec.version_label}")
            inputs = {
                k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()
            }
            answer = predict_pb2.PredictResponse(model_spec=spec)
            for key, value in served[spec.signature_name](**inputs).items():
                answer.outputs[key].CopyFrom(tf.make_tensor_proto(value.numpy()))
            return answer

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Service(), server
    )
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield f"grpc://localhost:{port}"
    server.stop(None)


@pytest.fixture(scope="module")
def rest_address(served):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/models/tiny/versions/1:predict":
                return self.reply(404, {"error": f"Nothing at {self.path}"})
            inputs = {k: tf.constant(from_json(v)) for k, v in body["inputs"].items()}
            outputs = {
                key: to_json(value.numpy().tolist())
                for key, value in served[body["signature_name"]](**inputs).items()
            }
            if len(outputs) == 1:
                (outputs,) = outputs.values()
            return self.reply(200, {"outputs": outputs})

        def reply(self, status, body):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *arguments):
            pass

    server = http.server.HTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_client(kind, request, client_module, model):
    address = request.getfixturevalue(f"{kind}_address")
    client = client_module.Client(address, version=1)
    answer = client.encode_text(text=TEXTS)
    expected = model.encode_text(TEXTS)
    np.testing.assert_allclose(answer["embedding"], expected, atol=1e-5)
    answer = client.rank(
        image=[png(3), BROKEN], text=[["red", "grün", ""], ["a", "b", "c"]]
    )
    assert answer["best"][0] in ("red", "grün") and answer["best"][1] == ""
    assert answer["order"][0][2] == 2
    assert [bool(error) for error in answer["error"]] == [False, True]
    vectors = client.zero_shot_by_embedding(
        image=[png(3)], class_embedding=[expected.tolist()]
    )
    assert np.shape(vectors["probabilities"]) == (1, 3)
    with pytest.raises(client_module.ServingError, match=r"404|NOT_FOUND"):
        client_module.Client(address, label="canary").encode_text(text=TEXTS)


def test_client_names_what_is_wrong(client_module):
    with pytest.raises(ValueError, match="must begin with http"):
        client_module.Client("localhost:8500")
    with pytest.raises(ValueError, match=r"Either `version` or `label`"):
        client_module.Client("http://localhost", version=1, label="stable")
    client = client_module.Client("http://localhost:1")
    with pytest.raises(ValueError, match=r"one of \['encode_image'.*'caption'"):
        client.predict("caption", {})
    with pytest.raises(ValueError, match=r"takes \['text'\]. Received: \['image'\]"):
        client.predict("encode_text", {"image": []})
    with pytest.raises(client_module.ServingError, match="cannot be asked"):
        client.encode_text(text=TEXTS)


def test_a_tampered_artefact_is_removed(model, tmp_path, monkeypatch):
    from kmmft.export import parity, saved_model

    weight = model.towers["text"].weights[0]
    change = np.random.default_rng(0).normal(size=weight.shape)
    save = saved_model._save

    def save_another(*arguments):
        weight.assign_add(change)
        save(*arguments)
        weight.assign_sub(change)

    def answers(directory, requests):
        # The reloaded artefact, without the price of another process.
        loaded = tf.saved_model.load(str(directory)).signatures
        return {
            name: {k: v.numpy().tolist() for k, v in loaded[name](**inputs).items()}
            for name, inputs in requests.items()
        }

    monkeypatch.setattr(saved_model, "_save", save_another)
    monkeypatch.setattr(parity, "answers_in_fresh_process", answers)
    functions = model.serving_functions()
    signatures = {
        name: kmmft.export.Signature(served.function, served.inputs)
        for name, served in functions.items()
        if name == "encode_text"
    }
    with pytest.raises(
        ValueError,
        match=r"output 'embedding' of signature 'encode_text', input row \d "
        r"\(text: b'(what|red)",
    ):
        kmmft.export.export_saved_model(
            tmp_path / "export", signatures, resources=[model], examples=RAW
        )
    assert not (tmp_path / "export").exists()
