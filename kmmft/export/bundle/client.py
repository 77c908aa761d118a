"""Asks a served model, over REST or gRPC, from a file that stands alone.

Of other packages only `requests` is needed for REST, and only `grpc` (the package
grpcio) for gRPC: the few messages of TensorFlow Serving's API are written and read
here.

    client = ServingClient("http://localhost:8501", "my_model", SIGNATURES)
    client = ServingClient("grpc://localhost:8500", "my_model", SIGNATURES)
    answers = client.predict("encode_text", {"text": ["a red circle"]})
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from kmmft.export.bundle.messages import (
    decode_predict_response,
    encode_predict_request,
    encode_tensor,
    text_or_bytes,
)


class ServingError(Exception):
    """The server refused a request, or could not be reached."""


class ServingClient:
    """A served model.

    Args:
        address: `http://host:8501` or `https://...` for REST, `grpc://host:8500` for
            gRPC without encryption.
        model: Its name on the server.
        signatures: By signature, `inputs` and `outputs`: a type and a shape by name.
        version: Number of the version to ask, or `None`.
        label: Label of the version to ask, such as `stable` or `canary`, or `None`.
        timeout_seconds: Longest time to wait for an answer.
    """

    def __init__(
        self,
        address: str,
        model: str,
        signatures: Mapping[str, Mapping],
        version: int | None = None,
        label: str | None = None,
        timeout_seconds: float = 30.0,
    ):
        if version is not None and label is not None:
            raise ValueError(
                "Either `version` or `label` can be given. "
                f"Received: version={version}, label={label!r}."
            )
        self.address = address.rstrip("/")
        self.model = model
        self.signatures = signatures
        self.version = version
        self.label = label
        self.timeout_seconds = timeout_seconds
        if self.address.startswith("grpc://"):
            self._ask = self._grpc()
        elif self.address.startswith(("http://", "https://")):
            self._ask = self._rest()
        else:
            raise ValueError(
                "`address` must begin with http://, https:// or grpc://. "
                f"Received: {address!r}."
            )

    def predict(self, signature: str, inputs: Mapping[str, Sequence]) -> dict[str, Any]:
        """Asks one signature.

        Args:
            signature: Its name.
            inputs: Nested lists by name; the outermost one is the batch. Texts are
                `str`, encoded images `bytes`. Of a model that takes missing values, NaN
                is a missing number.

        Returns:
            Nested lists by name. Texts are `str`, or `bytes` where they are not UTF-8.

        Raises:
            ValueError: If there is no such signature, or it takes other inputs.
            ServingError: If the server refuses.
        """
        if signature not in self.signatures:
            raise ValueError(
                f"`signature` must be one of {sorted(self.signatures)}. "
                f"Received: {signature!r}."
            )
        expected = self.signatures[signature]["inputs"]
        if set(inputs) != set(expected):
            raise ValueError(
                f"Signature {signature!r} takes {sorted(expected)}. "
                f"Received: {sorted(inputs)}."
            )
        return self._ask(signature, inputs)

    def _rest(self):
        try:
            import requests
        except ImportError as error:
            raise ImportError("REST needs `pip install requests`.") from error
        session = requests.Session()
        chosen = f"/versions/{self.version}" if self.version is not None else ""
        chosen = f"/labels/{self.label}" if self.label is not None else chosen
        url = f"{self.address}/v1/models/{self.model}{chosen}:predict"

        def ask(signature, inputs):
            body = {"signature_name": signature, "inputs": _to_json(dict(inputs))}
            try:
                # Not `json=`, which refuses NaN: a missing number, to both servers.
                answer = session.post(
                    url,
                    data=json.dumps(body).encode(),
                    headers={"Content-Type": "application/json"},
                    timeout=self.timeout_seconds,
                )
            except requests.RequestException as error:
                raise ServingError(f"{url} cannot be asked: {error}") from error
            if answer.status_code != 200:
                raise ServingError(_refusal(answer.status_code, answer.text))
            outputs = answer.json()["outputs"]
            names = list(self.signatures[signature]["outputs"])
            # A single output comes without its name.
            named = outputs if len(names) > 1 else {names[0]: outputs}
            return {name: _from_json(value) for name, value in named.items()}

        return ask

    def _grpc(self):
        try:
            import grpc
        except ImportError as error:
            raise ImportError("gRPC needs `pip install grpcio`.") from error
        sizes = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
        channel = grpc.insecure_channel(
            self.address.removeprefix("grpc://"), options=[(size, -1) for size in sizes]
        )
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

        def ask(signature, inputs):
            specs = self.signatures[signature]["inputs"]
            tensors = {
                name: encode_tensor(
                    values, specs[name]["dtype"], len(specs[name]["shape"])
                )
                for name, values in inputs.items()
            }
            request = encode_predict_request(
                self.model, signature, tensors, self.version, self.label
            )
            try:
                answer = call(request, timeout=self.timeout_seconds)
            except grpc.RpcError as error:
                text = f"{error.code().name}: {error.details()}"
                raise ServingError(text) from error
            return decode_predict_response(answer)

        return ask


def _refusal(status: int, body: str) -> str:
    try:
        body = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        body = body[:500]
    return f"{status}: {body}"


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _to_json(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, str | int | float):
        return value
    return [_to_json(item) for item in value]


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    if isinstance(value, Mapping):
        return text_or_bytes(base64.b64decode(value["b64"]))
    return value
