import base64
import concurrent.futures
import contextlib
import json
import random
import socket
import time

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.serving.conformance import CHECKS, IMAGE, PNG, post, request_of
from tests.serving.conftest import ServerThread
from tests.serving.tiny_export import write_export


@pytest.mark.parametrize("name", CHECKS)
def test_conforms(server, name):
    CHECKS[name](server.rest, server.grpc)


def row(image=IMAGE, text="One"):
    return {"image": image, "text": text}


def test_a_bad_row_spoils_no_other(server):
    bad = {"b64": base64.b64encode(b"no image").decode()}
    answer = post(server.rest, {"instances": [row(), row(image=bad)]}).json()
    good, flagged = answer["predictions"]
    assert good["label"] == "one" and good["error"] == ""
    assert flagged["error"] == "image cannot be decoded"
    answer = post(server.rest, {"instances": [row(image=bad)]})
    assert answer.status_code == 400
    assert "image cannot be decoded" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"instances": [row(text="x" * 6000)]}, 413, "'text' may have 5,000 bytes"),
        ({"instances": [row()] * 9}, 413, "8 rows"),
        ({"instances": [row()], "more": 1}, 400, "unknown keys: ['more']"),
        ({"instances": [row(text=None)]}, 400, "text, row 0"),
        ({"instances": [row(text={"b64": 3})]}, 400, "text, row 0"),
        ({"instances": [row(), {"text": "a"}]}, 400, "row 1"),
        ({"instances": ["a"]}, 400, "must be named"),
        ({"inputs": {"image": [IMAGE], "text": ["a", "b"]}}, 400, "as many rows"),
        ({"inputs": {"image": [IMAGE], "txt": ["a"]}}, 400, "Missing: ['text']"),
        ({"inputs": {"image": [], "text": []}}, 400, "must have a row"),
        ({"signature_name": 3, "instances": ["a"]}, 400, "must be a string"),
        ({"signature_name": "encode_text", "inputs": "a"}, 400, "not nested so deep"),
        ({"signature_name": "scale", "inputs": [[1, None]]}, 400, "must have a value"),
        ([], 400, "either `instances` or `inputs`"),
    ],
)  # fmt: skip
def test_wrong_requests_are_named(server, body, status, words):
    answer = post(server.rest, body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]


def test_texts_with_nul_and_surrogates_and_deep_json(server):
    answer = post(server.rest, {"instances": [row(text="a\0b"), row(text="\ud800")]})
    assert [p["label"] for p in answer.json()["predictions"]] == ["a\0b", "?"]
    url = f"{server.rest}/v1/models/tiny:predict"
    deep = requests.post(url, b"[" * 100_000, timeout=30)
    assert deep.status_code == 400
    assert requests.get(f"{server.rest}/no/such", timeout=30).status_code == 404
    assert requests.get(url, timeout=30).status_code in (404, 405)


def test_too_large_and_too_slow_bodies(server):
    answer = post(server.rest, {"instances": ["x" * 2**20]})
    assert answer.status_code == 413
    chunks = (b" " * 2**16 for _ in range(40))
    url = f"{server.rest}/v1/models/tiny:predict"
    # It may be refused while it is still being sent.
    with contextlib.suppress(requests.ConnectionError):
        assert requests.post(url, data=chunks, timeout=30).status_code == 413
    host, port = server.rest.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        slow.sendall(
            b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert b"408" in slow.recv(1000).split(b"\r\n")[0]
    assert post(server.rest, {"instances": [row()]}).status_code == 200


def test_a_short_message_cannot_ask_for_a_huge_array(server):
    request = request_of("scale", factor=[[1.0, 2.0]])
    del request.inputs["factor"].tensor_shape.dim[:]
    for size in (10**9, 10**9):
        request.inputs["factor"].tensor_shape.dim.add(size=size)
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="shape that cannot be"):
            stub.Predict(request, timeout=30)


def test_good_requests_among_malformed_ones(server):
    """1,000 malformed requests and as many good ones, all at once."""
    draw = random.Random(0)
    good = json.dumps({"instances": [row(text="Good")]}).encode()

    def ask(number):
        body = good
        if number % 2:
            body = bytearray(good)
            for _ in range(draw.randrange(1, 20)):
                body[draw.randrange(len(body))] = draw.randrange(256)
            body = bytes(body[: draw.randrange(len(body))])
        answer = session.post(url, data=body, timeout=60)
        return number % 2, answer.status_code, answer.text

    url = f"{server.rest}/v1/models/tiny:predict"
    with requests.Session() as session:
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=16)
        session.mount("http://", adapter)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, range(2000)))
    assert len(answers) == 2000
    for malformed, status, text in answers:
        if malformed:
            assert status == 400 and json.loads(text)["error"]
        else:
            assert status == 200 and '"good"' in text


def test_a_request_that_fails_spoils_no_other(server):
    def ask(text):
        body = {"signature_name": "encode_text", "instances": [text]}
        return post(server.rest, body)

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, ["poison", "a"] * 20))
    for answer in answers[::2]:
        assert answer.status_code == 400 and "poisoned" in answer.json()["error"]
    assert all(
        answer.json() == {"predictions": [[3.0, 4.0]]} for answer in answers[1::2]
    )


def counts(server, name):
    text = requests.get(f"{server.rest}/metrics", timeout=30).text
    lines = [line for line in text.splitlines() if line.startswith(name)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def test_health_and_metrics(server):
    for path in ("healthz", "readyz"):
        assert requests.get(f"{server.rest}/{path}", timeout=30).status_code == 200
    before = counts(server, "kmmft_requests_total"), counts(server, "kmmft_bad_rows")
    post(server.rest, {"instances": [row(), row(image="no")]})
    post(server.rest, {"instances": []})
    after = counts(server, "kmmft_requests_total"), counts(server, "kmmft_bad_rows")
    assert after[0] - before[0] == 1 and after[1] - before[1] == 1
    assert counts(server, "kmmft_latency_seconds_count") > 0


def test_new_versions_take_over_while_requests_are_answered(tmp_path):
    write_export(tmp_path, 1)
    running = ServerThread(tmp_path)
    try:

        def version():
            answer = post(running.rest, {"instances": [row()]})
            assert answer.status_code == 200, answer.text
            return answer.json()["predictions"][0]["version"]

        assert version() == 1
        # One that cannot be loaded changes nothing.
        broken = tmp_path / ".2"
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"no model")
        broken.rename(tmp_path / "2")
        write_export(tmp_path, 3)
        seen = [version()]
        deadline = time.monotonic() + 60
        while seen[-1] != 3 and time.monotonic() < deadline:
            seen.append(version())
        assert seen[-1] == 3 and sorted(seen) == seen
        # Labels keep a version beside the latest, and say what is asked by default.
        (tmp_path / "serving").mkdir()
        config = 'version_labels { key: "stable"  value: 1 }\n'
        config += 'version_labels { key: "canary"  value: 3 }\n'
        (tmp_path / "serving/models.config").write_text(config)
        while version() != 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        canary = post(running.rest, {"instances": [row()]}, "/labels/canary").json()
        assert canary["predictions"][0]["version"] == 3 and version() == 1
    finally:
        running.stop()


def test_no_version_to_serve(tmp_path):
    with pytest.raises(ValueError, match="must be a version to serve"):
        ServerThread(tmp_path)


def test_grpc_and_rest_agree(server):
    answer = post(server.rest, {"instances": [row(text="Word")]}).json()
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        found = stub.Predict(request_of("", image=[PNG], text=["Word"]), timeout=30)
    for name, value in answer["predictions"][0].items():
        array = tf.make_ndarray(found.outputs[name])
        if name == "picture_bytes":
            assert array[0] == base64.b64decode(value["b64"])
        elif array.dtype == object:
            assert array[0].decode() == value
        else:
            np.testing.assert_allclose(array[0], value)
