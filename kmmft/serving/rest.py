"""TensorFlow Serving's REST API, by FastAPI."""

import asyncio

import fastapi
import tensorflow as tf
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from kmmft.serving.model_server import ModelServer
from kmmft.serving.request_error import RequestError
from kmmft.serving.rest_format import read_body, write_body
from kmmft.serving.served_model import ServedModel

# Longer bodies are read in a thread, so that others need not wait.
_SHORT_BODY = 64 * 2**10


def rest_app(server: ModelServer) -> fastapi.FastAPI:
    """The routes of a server.

    `POST /v1/models/NAME[/versions/N|/labels/L]:predict`, `GET` of the same without
    `:predict` for the status and with `/metadata` for the signatures, `GET /healthz`
    (is it alive), `GET /readyz` (has it a model) and `GET /metrics` (Prometheus, also
    where TensorFlow Serving has them, `/monitoring/prometheus/metrics`).

    Args:
        server: Answers the requests.

    Returns:
        An ASGI application.
    """
    app = fastapi.FastAPI(title=server.name, docs_url=None, redoc_url=None)

    @app.exception_handler(RequestError)
    async def refuse(request: fastapi.Request, error: RequestError):
        return JSONResponse({"error": error.message}, error.status)

    @app.exception_handler(404)
    @app.exception_handler(405)
    async def not_there(request: fastapi.Request, error):
        known = f"/v1/models/{server.name}:predict"
        path = f"{request.method} {request.url.path}"[:200]
        message = f"There is no {path}; ask POST {known}."
        return JSONResponse({"error": message}, error.status_code)

    async def predict(
        request: fastapi.Request,
        name: str,
        version: str | None = None,
        label: str | None = None,
    ):
        model = server.choose(name, _number(version), label)
        body = await _body(request, server)
        if len(body) > _SHORT_BODY:
            asked = await asyncio.to_thread(read_body, body)
        else:
            asked = read_body(body)
        outputs = await server.predict(model, asked.signature, asked.inputs)
        return Response(
            write_body(outputs, asked.by_row), media_type="application/json"
        )

    async def status(name: str, version: str | None = None, label: str | None = None):
        model = server.choose(name, _number(version), label)
        one = version is not None or label is not None
        numbers = [model.version] if one else server.versions.numbers
        fine = {"error_code": "OK", "error_message": ""}
        return {
            "model_version_status": [
                {"version": str(number), "state": "AVAILABLE", "status": fine}
                for number in reversed(numbers)
            ]
        }

    async def metadata(name: str, version: str | None = None, label: str | None = None):
        return _metadata(server.choose(name, _number(version), label), name)

    for place in ("", "/versions/{version}", "/labels/{label}"):
        path = "/v1/models/{name}" + place
        app.post(f"{path}:predict")(predict)
        app.get(f"{path}/metadata")(metadata)
        app.get(path)(status)
    _add_operations(app, server)
    return app


def _add_operations(app: fastapi.FastAPI, server: ModelServer) -> None:
    @app.get("/healthz")
    async def alive():
        return {"status": "alive"}

    @app.get("/readyz")
    async def ready():
        return {"status": "ready", "versions": server.versions.numbers}

    @app.get("/metrics")
    @app.get("/monitoring/prometheus/metrics")
    async def metrics():
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")


def _number(version: str | None) -> int | None:
    if version is None or version.isdigit():
        return None if version is None else int(version)
    raise RequestError(
        f"A version must be a number. Received: {version[:50]!r}.", status=404
    )


async def _body(request: fastapi.Request, server: ModelServer) -> bytes:
    """Reads a body as far as it is allowed to go on."""
    limits = server.limits
    too_long = RequestError(
        f"A request may have {limits.request_bytes:,} bytes.", status=413
    )
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limits.request_bytes:
        raise too_long
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > limits.request_bytes:
                    raise too_long
                parts.append(part)
    except TimeoutError as error:
        raise RequestError(
            f"A request must arrive within {limits.body_seconds} s.", status=408
        ) from error
    except ClientDisconnect as error:
        raise RequestError("The visitor has gone.", status=400) from error
    return b"".join(parts)


def _metadata(model: ServedModel, name: str) -> dict:
    """As TensorFlow Serving describes a model."""

    def described(spec: tf.TensorSpec) -> dict:
        sizes = [{"size": str(-1 if d is None else d), "name": ""} for d in spec.shape]
        return {
            "dtype": f"DT_{spec.dtype.name.upper()}".replace("FLOAT32", "FLOAT"),
            "tensor_shape": {"dim": sizes, "unknown_rank": False},
        }

    signatures = {
        signature: {
            "inputs": {k: described(v) for k, v in model.inputs(signature).items()},
            "outputs": {k: described(v) for k, v in model.outputs(signature).items()},
            "method_name": "tensorflow/serving/predict",
        }
        for signature in model.signatures
    }
    spec = {"name": name, "signature_name": "", "version": str(model.version)}
    return {
        "model_spec": spec,
        "metadata": {"signature_def": {"signature_def": signatures}},
    }
