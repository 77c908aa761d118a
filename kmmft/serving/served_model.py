"""One version of an exported model, loaded."""

import contextlib
import logging
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from kmmft.serving.converted_model import DESCRIPTION_FILE, ConvertedModel
from kmmft.serving.request_error import RequestError

logger = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]


def model_file(directory: pathlib.Path) -> pathlib.Path | None:
    """The file that makes a directory a version of a model; None if there is none."""
    files = [directory / name for name in ("saved_model.pb", DESCRIPTION_FILE)]
    return next((file for file in files if file.exists()), None)


class ServedModel:
    """A SavedModel, or a LiteRT or ONNX variant, that answers batches of raw rows.

    Args:
        directory: Directory of the version, named by its number.

    Attributes:
        version: The number.
        signatures: Names of what can be asked.

    Raises:
        ValueError: If there is no model that can be loaded.

    Example::

        model = ServedModel("runs/quickstart/export/1")
        model.run("encode_text", {"text": np.array([b"a red circle"], object)})
    """

    def __init__(self, directory: str | pathlib.Path):
        self.directory = pathlib.Path(directory)
        self.version = int(self.directory.name)
        # Its operations, if it is there; a model that needs none of them does without.
        with contextlib.suppress(ImportError):
            import tensorflow_text  # noqa: F401
        try:
            self._functions = self._load()
        except (ImportError, OSError, ValueError, tf.errors.OpError) as error:
            raise ValueError(
                "A version's directory must hold a model. "
                f"Received: {self.directory}, which cannot be loaded ({error})."
            ) from error
        self.signatures = sorted(self._functions)

    def _load(self) -> dict:
        if model_file(self.directory) == self.directory / DESCRIPTION_FILE:
            return {"serving_default": ConvertedModel(self.directory)}
        # Kept, since the functions do not keep the model's tables.
        self._loaded = tf.saved_model.load(str(self.directory))
        return dict(self._loaded.signatures)

    def inputs(self, signature: str) -> dict[str, tf.TensorSpec]:
        """Specs of what a signature takes, by name.

        Raises:
            RequestError: If there is no such signature.
        """
        return self._function(signature).structured_input_signature[1]

    def outputs(self, signature: str) -> dict[str, tf.TensorSpec]:
        """Specs of what a signature returns, by name.

        Raises:
            RequestError: If there is no such signature.
        """
        outputs = self._function(signature).structured_outputs
        return {
            name: tf.TensorSpec(tensor.shape, tensor.dtype, name)
            for name, tensor in outputs.items()
        }

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Answers a batch.

        Args:
            signature: Name of what is asked.
            inputs: Arrays by name, all with as many rows.

        Returns:
            Arrays by name, with as many rows.

        Raises:
            RequestError: If the graph refuses the batch.
        """
        function = self._function(signature)
        specs = self.inputs(signature)
        tensors = {
            name: tf.constant(value, specs[name].dtype)
            for name, value in inputs.items()
        }
        try:
            return {name: np.asarray(x) for name, x in function(**tensors).items()}
        except tf.errors.InvalidArgumentError as error:
            reason = " ".join(error.message.split())[:500]
            raise RequestError(f"The model refuses the inputs: {reason}") from error

    def warm_up(self) -> int:
        """Answers the requests that were exported for it, so that no visitor waits.

        Returns:
            Number of requests.
        """
        from tensorflow_serving.apis import prediction_log_pb2

        path = self.directory / "assets.extra" / "tf_serving_warmup_requests"
        if not path.exists():
            return 0
        count = 0
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            request = log.predict_log.request
            inputs = {key: tf.make_ndarray(x) for key, x in request.inputs.items()}
            self.run(request.model_spec.signature_name, inputs)
            count += 1
        return count

    def _function(self, signature: str):
        if signature not in self._functions:
            raise RequestError(
                f"There is no signature {signature!r}; there are "
                f"{', '.join(self.signatures)}.",
                status=404,
            )
        return self._functions[signature]
