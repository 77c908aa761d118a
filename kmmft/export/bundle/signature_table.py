"""What each signature of a SavedModel takes and gives, read from its file."""

import json
import pathlib

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

Table = dict[str, dict[str, dict[str, dict]]]


def signature_table(directory: pathlib.Path) -> Table:
    """Reads types and shapes of all signatures.

    Args:
        directory: The SavedModel.

    Returns:
        By signature, `inputs` and `outputs`: by name, `dtype` and `shape`, in which
        `None` stands for any length.
    """
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((directory / "saved_model.pb").read_bytes())
    return {
        name: {
            "inputs": _specs(signature.inputs),
            "outputs": _specs(signature.outputs),
        }
        for name, signature in sorted(saved.meta_graphs[0].signature_def.items())
        if not name.startswith("__")
    }


def write_signature_table(directory: pathlib.Path) -> Table:
    """Writes the table to `assets.extra/signatures.json`, and returns it."""
    table = signature_table(directory)
    path = directory / "assets.extra" / "signatures.json"
    path.write_text(json.dumps(table, indent=2) + "\n")
    return table


def describe(spec: dict) -> str:
    """One input or output in words, such as `float32 (batch, 256)`."""
    others = ["any" if size is None else str(size) for size in spec["shape"][1:]]
    axes = ", ".join(["batch", *others])
    return f"{spec['dtype']} ({axes}{',' if not others else ''})"


def _specs(tensors) -> dict[str, dict]:
    # The file has them in no order.
    return {name: _spec(tensors[name]) for name in sorted(tensors)}


def _spec(info) -> dict:
    shape = [None if axis.size < 0 else axis.size for axis in info.tensor_shape.dim]
    return {"dtype": tf.dtypes.as_dtype(info.dtype).name, "shape": shape}
