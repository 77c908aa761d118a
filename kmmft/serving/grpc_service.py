"""TensorFlow Serving's gRPC API."""

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from kmmft.serving.model_server import ModelServer
from kmmft.serving.request_error import RequestError
from kmmft.serving.served_model import ServedModel

_CODES = {
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}


def grpc_server(server: ModelServer, address: str) -> tuple[grpc.aio.Server, int]:
    """A gRPC server with `PredictionService` and `ModelService`; not yet started.

    Args:
        server: Answers the requests.
        address: Host and port to listen at; port 0 for any.

    Returns:
        The server and its port.
    """
    most = server.limits.request_bytes
    served = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", most),
            ("grpc.max_send_message_length", -1),
            # Otherwise a second server could share the port, and half of the requests.
            ("grpc.so_reuseport", 0),
        ]
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _Prediction(server), served
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Status(server), served)
    return served, served.add_insecure_port(address)


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, server: ModelServer):
        self.server = server

    async def Predict(self, request, context):
        try:
            model = _chosen(self.server, request.model_spec)
            signature = request.model_spec.signature_name or "serving_default"
            inputs = {
                name: _array(name, tensor, self.server.limits.request_bytes)
                for name, tensor in request.inputs.items()
            }
            outputs = await self.server.predict(model, signature, inputs)
        except RequestError as error:
            await _refuse(context, error)
        response = predict_pb2.PredictResponse()
        _describe(response.model_spec, model, request.model_spec.name, signature)
        for name in request.output_filter or outputs:
            if name in outputs:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
        return response

    async def GetModelMetadata(self, request, context):
        try:
            model = _chosen(self.server, request.model_spec)
        except RequestError as error:
            await _refuse(context, error)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        _describe(response.model_spec, model, request.model_spec.name, "")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name in model.signatures:
            definition = signatures.signature_def[name]
            definition.method_name = "tensorflow/serving/predict"
            for specs, field in (
                (model.inputs(name), definition.inputs),
                (model.outputs(name), definition.outputs),
            ):
                for key, spec in specs.items():
                    field[key].name = key
                    field[key].dtype = spec.dtype.as_datatype_enum
                    field[key].tensor_shape.CopyFrom(spec.shape.as_proto())
        response.metadata["signature_def"].Pack(signatures)
        return response


class _Status(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, server: ModelServer):
        self.server = server

    async def GetModelStatus(self, request, context):
        try:
            _chosen(self.server, request.model_spec)
        except RequestError as error:
            await _refuse(context, error)
        response = get_model_status_pb2.GetModelStatusResponse()
        available = get_model_status_pb2.ModelVersionStatus.State.AVAILABLE
        for number in reversed(self.server.versions.numbers):
            response.model_version_status.add(version=number, state=available)
        return response


def _chosen(server: ModelServer, spec) -> ServedModel:
    version = spec.version.value if spec.HasField("version") else None
    return server.choose(spec.name, version, spec.version_label or None)


def _describe(spec, model: ServedModel, name: str, signature: str) -> None:
    spec.name = name
    spec.version.value = model.version
    spec.signature_name = signature


def _array(name: str, tensor, most_bytes: int) -> np.ndarray:
    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    # One value may stand for all, so a short message can ask for a huge array.
    if any(size < 0 for size in shape) or np.prod(shape, dtype=float) > most_bytes:
        raise RequestError(f"Input {name!r} has a shape that cannot be: {shape}.")
    try:
        array = tf.make_ndarray(tensor)
    except (TypeError, ValueError, KeyError) as error:
        raise RequestError(f"Input {name!r} cannot be read: {error}.") from error
    if array.ndim == 0:
        raise RequestError(f"Input {name!r} must have rows. Received: a scalar.")
    return array


async def _refuse(context, error: RequestError) -> None:
    code = _CODES.get(error.status, grpc.StatusCode.INVALID_ARGUMENT)
    await context.abort(code, error.message)
