"""Requests that TensorFlow Serving answers before it takes a version into use."""

import pathlib
from collections.abc import Mapping

import tensorflow as tf

from kmmft.export.bundle.messages import encode_predict_request, message

# TensorFlow Serving refuses a file with more.
MOST_REQUESTS = 1000


def write_warmup_requests(
    directory: pathlib.Path,
    name: str,
    requests: Mapping[str, Mapping[str, tf.Tensor]],
) -> pathlib.Path:
    """Writes `assets.extra/tf_serving_warmup_requests` beside a model.

    Each signature is asked for one row and for all of the examples, so that the first
    visitor does not wait until memory is taken and graphs are optimised.

    Args:
        directory: The SavedModel.
        name: The model's name on the server.
        requests: Inputs of each signature, by signature and input name.

    Returns:
        The file: a TFRecord of `tensorflow.serving.PredictionLog`.
    """
    path = directory / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    logs = [
        _prediction_log(name, signature, {key: x[:rows] for key, x in inputs.items()})
        for signature, inputs in requests.items()
        for rows in sorted({1, max(len(x) for x in inputs.values())})
    ]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs[:MOST_REQUESTS]:
            writer.write(log)
    return path


def _prediction_log(name: str, signature: str, inputs: Mapping) -> bytes:
    tensors = {
        key: tf.make_tensor_proto(value.numpy()).SerializeToString()
        for key, value in inputs.items()
    }
    request = encode_predict_request(name, signature, tensors)
    # PredictionLog.predict_log (6) . PredictLog.request (1)
    return message(6, message(1, request))
