"""What a server of TensorFlow Serving's API has to do, checked over its ports.

The checks know nothing of who answers. They run in the tests against `kmmft-serve`;
against another server, such as TensorFlow Serving itself, which serves the directory
that the first command writes:

    python -m tests.serving.conformance export /tmp/conformance
    tensorflow_model_server --model_name=tiny --model_base_path=/tmp/conformance \
        --rest_api_port=8501 --port=8500
    python -m tests.serving.conformance check http://localhost:8501 localhost:8500
"""

import base64
import pathlib
import sys

import grpc
import numpy as np
import requests
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

NAME = "tiny"
PNG = b"\x89PNG and more"
IMAGE = {"b64": base64.b64encode(PNG).decode()}


def post(address, body, place="", **kwargs):
    url = f"{address}/v1/models/{NAME}{place}:predict"
    return requests.post(url, json=body, timeout=30, **kwargs)


def check_rows(rest, _):
    rows = [{"image": IMAGE, "text": "One"}, {"image": IMAGE, "text": "É"}]
    answer = post(rest, {"instances": rows})
    assert answer.status_code == 200, answer.text
    first, second = answer.json()["predictions"]
    assert (first["label"], first["error"]) == ("one", "")
    np.testing.assert_allclose(first["probability"], 1 / 4)
    assert second["picture_bytes"] == IMAGE


def check_columns(rest, _):
    inputs = {"image": [IMAGE], "text": ["One"]}
    body = {"signature_name": "serving_default", "inputs": inputs}
    outputs = post(rest, body, "/versions/1").json()["outputs"]
    assert outputs["label"] == ["one"] and outputs["picture_bytes"] == [IMAGE]


def check_single_input_and_output_without_names(rest, _):
    body = {"signature_name": "encode_text", "instances": ["a", "bb"]}
    assert post(rest, body).json() == {"predictions": [[3.0, 4.0], [1.0, 2.0]]}
    body = {"signature_name": "encode_text", "inputs": ["a"]}
    assert post(rest, body).json() == {"outputs": [[3.0, 4.0]]}
    body = {"signature_name": "scale", "instances": [[1, 2.5]]}
    assert post(rest, body).json() == {"predictions": [[2.0, 5.0]]}


def check_nested_strings(rest, _):
    body = {"signature_name": "rank", "instances": [["aaa", "b"], ["c", "dd"]]}
    assert post(rest, body).json() == {"predictions": [[1, 0], [0, 1]]}


def check_status_and_metadata(rest, _):
    url = f"{rest}/v1/models/{NAME}"
    (status,) = requests.get(url, timeout=30).json()["model_version_status"]
    assert (status["version"], status["state"]) == ("1", "AVAILABLE")
    metadata = requests.get(f"{url}/metadata", timeout=30).json()["metadata"]
    signatures = metadata["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["text"]["dtype"] == "DT_STRING"
    assert signatures["scale"]["outputs"]["product"]["dtype"] == "DT_FLOAT"


def check_what_is_not_there(rest, _):
    assert post(rest, {"instances": ["a"]}, "/versions/9").status_code == 404
    assert post(rest, {"instances": ["a"]}, "/labels/none").status_code in (400, 404)
    unknown = requests.post(f"{rest}/v1/models/no:predict", json={}, timeout=30)
    assert unknown.status_code == 404 and "error" in unknown.json()
    body = {"signature_name": "no", "instances": ["a"]}
    answer = post(rest, body)
    assert answer.status_code in (400, 404) and "no" in answer.json()["error"]


def check_wrong_bodies(rest, _):
    for body in (
        {},
        {"instances": []},
        {"instances": ["a"], "inputs": ["a"]},
        {"instances": [{"text": "a"}]},
        {"instances": [{"image": IMAGE, "text": "a", "more": "b"}]},
        {"instances": [{"image": {"b64": "%%%"}, "text": "a"}]},
        {"signature_name": "scale", "instances": [[1.0, 2.0, 3.0]]},
        {"signature_name": "scale", "instances": [["a", "b"]]},
        {"signature_name": "encode_text", "instances": [1]},
        {"signature_name": "rank", "instances": [["a"], ["b", "c"]]},
    ):
        answer = post(rest, body)
        assert answer.status_code == 400, (body, answer.text)
        assert answer.json()["error"], body
    answer = requests.post(f"{rest}/v1/models/{NAME}:predict", b"{", timeout=30)
    assert answer.status_code == 400


def request_of(signature, version=None, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def check_grpc(_, address):
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(request_of("", image=[PNG], text=["One"]), timeout=30)
        labels = tf.make_ndarray(answer.outputs["label"]).tolist()
        assert labels == [b"one"] and answer.model_spec.version.value == 1
        answer = stub.Predict(request_of("scale", 1, factor=[[1.0, 2.0]]), timeout=30)
        np.testing.assert_allclose(tf.make_ndarray(answer.outputs["product"]), [[2, 4]])


def check_grpc_refusals(_, address):
    wrong = [
        (request_of("scale", factor=[["a", "b"]]), "INVALID_ARGUMENT"),
        (request_of("scale", factor=[[1.0]]), "INVALID_ARGUMENT"),
        (request_of("scale"), "INVALID_ARGUMENT"),
        (request_of("scale", 9, factor=[[1.0, 2.0]]), "NOT_FOUND"),
    ]
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for request, code in wrong:
            try:
                stub.Predict(request, timeout=30)
            except grpc.RpcError as error:
                assert error.code().name == code, error
            else:
                raise AssertionError(f"answered: {request}")


def check_grpc_status_and_metadata(_, address):
    with grpc.insecure_channel(address) as channel:
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = NAME
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        (found,) = stub.GetModelStatus(status, timeout=30).model_version_status
        assert (found.version, found.state) == (1, found.AVAILABLE)
        asked = get_model_metadata_pb2.GetModelMetadataRequest()
        asked.model_spec.name = NAME
        asked.metadata_field.append("signature_def")
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.GetModelMetadata(asked, timeout=30)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        text = signatures.signature_def["serving_default"].inputs["text"]
        assert text.dtype == tf.string.as_datatype_enum


CHECKS = {
    name.removeprefix("check_"): function
    for name, function in list(globals().items())
    if name.startswith("check_")
}


def main() -> int:
    from tests.serving.tiny_export import write_export

    match sys.argv[1:]:
        case ["export", folder]:
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            print(write_export(pathlib.Path(folder), version=1))
        case ["check", rest, grpc_address]:
            for name, check in CHECKS.items():
                check(rest, grpc_address)
                print(f"passed: {name}")
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
