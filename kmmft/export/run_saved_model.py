"""Runs an exported model with TensorFlow alone: no Keras, no KerasHub, no kmmft.

It is both a tool and a proof. Before TensorFlow is imported, `keras`, `keras_hub`
and `kmmft` are made impossible to import, and of tensorflow_text only the compiled
ops are loaded, as in TensorFlow Serving. Copy this file beside a model and it runs.

    python run_saved_model.py export/1 --image cat.png --question "..."
    python run_saved_model.py export/1 --requests in.json --responses out.json

`--image` names a file; every other `--NAME` is the value itself. The request file
holds a list of TensorFlow Serving's JSON requests in columns:
`{"signature_name": "serving_default", "inputs": {"question": ["..."]}}`, where bytes
are written as `{"b64": "..."}`; the response file holds a list of `{"outputs": ...}`.
"""

import argparse
import base64
import importlib.util
import json
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

BLOCKED = ("keras", "keras_hub", "tf_keras", "kmmft")


def to_json(value: Any) -> Any:
    """Turns nested lists of numbers, strings and bytes into JSON.

    Args:
        value: Nested lists as `numpy.ndarray.tolist` gives them.

    Returns:
        The same lists. Bytes become text, or `{"b64": ...}` where they are not UTF-8.

    Example:
        >>> kmmft.export.run_saved_model.to_json([b"red", bytes([255])])
        ['red', {'b64': '/w=='}]
    """
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode("ascii")}
    return value


def from_json(value: Any) -> Any:
    """Undoes `to_json`; text becomes UTF-8 bytes.

    Args:
        value: Nested lists as `json.load` gives them.

    Returns:
        The same lists, with bytes for text and for `{"b64": ...}`.

    Example:
        >>> kmmft.export.run_saved_model.from_json(["red", {"b64": "/w=="}])
        [b'red', b'\\xff']
    """
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value.encode("utf-8") if isinstance(value, str) else value


def import_tensorflow_alone() -> Any:
    """Imports TensorFlow with Keras out of reach, and tensorflow_text's ops."""
    for name in BLOCKED:
        if sys.modules.get(name):
            raise RuntimeError(f"{name} is already imported: start a fresh process.")
        sys.modules[name] = None
    import tensorflow as tf

    # The Python package would import Keras; the served graph needs only the ops.
    spec = importlib.util.find_spec("tensorflow_text")
    if spec is not None:
        root = pathlib.Path(spec.submodule_search_locations[0])
        for library in sorted((root / "python" / "ops").glob("*.so")):
            tf.load_op_library(str(library))
    return tf


def respond(tf: Any, signatures: Any, request: dict) -> dict:
    """Answers one request by one of the model's signatures."""
    name = request.get("signature_name", "serving_default")
    if name not in signatures:
        raise SystemExit(f"No signature {name!r}. The model has: {sorted(signatures)}.")
    function = signatures[name]
    specs = function.structured_input_signature[1]
    if set(request["inputs"]) != set(specs):
        raise SystemExit(
            f"Signature {name!r} takes {sorted(specs)}. "
            f"Received: {sorted(request['inputs'])}."
        )
    inputs = {
        key: tf.constant(from_json(request["inputs"][key]), spec.dtype)
        for key, spec in specs.items()
    }
    outputs = {}
    for key, value in function(**inputs).items():
        if value.dtype in (tf.bfloat16, tf.float16):
            value = tf.cast(value, tf.float32)
        outputs[key] = to_json(value.numpy().tolist())
    return {"outputs": outputs}


def request_from_arguments(signature: str, arguments: Sequence[str]) -> dict:
    """Makes a request for one example from `--NAME VALUE` pairs."""
    names, values = arguments[::2], arguments[1::2]
    if len(names) != len(values) or not all(name.startswith("--") for name in names):
        raise SystemExit(f"Inputs are given as --NAME VALUE. Received: {arguments}.")
    inputs = {}
    for name, value in zip((name[2:] for name in names), values, strict=True):
        if name == "image":
            encoded = base64.b64encode(pathlib.Path(value).read_bytes())
            inputs[name] = [{"b64": encoded.decode("ascii")}]
        else:
            inputs[name] = [value]
    return {"signature_name": signature, "inputs": inputs}


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, runs the model, and writes or shows its answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", help="the model, e.g. export/1")
    parser.add_argument("--signature", default="serving_default")
    parser.add_argument("--requests", type=pathlib.Path, help="JSON file to read")
    parser.add_argument("--responses", type=pathlib.Path, help="JSON file to write")
    options, inputs = parser.parse_known_args(arguments)
    if options.requests:
        requests = json.loads(options.requests.read_text())
    else:
        requests = [request_from_arguments(options.signature, inputs)]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    tf = import_tensorflow_alone()
    signatures = tf.saved_model.load(options.directory).signatures
    responses = [respond(tf, signatures, request) for request in requests]
    loaded = [name for name in BLOCKED if sys.modules.get(name)]
    if loaded:
        raise SystemExit(f"The model must run without {loaded}.")
    if options.responses:
        options.responses.write_text(json.dumps(responses))
        return
    for response in responses:
        for name, values in response["outputs"].items():
            shown = values[0] if not options.requests else values
            sys.stdout.write(f"{name}: {json.dumps(shown, ensure_ascii=False)}\n")


if __name__ == "__main__":
    main()
