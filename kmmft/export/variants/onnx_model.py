"""ONNX models: the numeric part of a model, with its preprocessing beside it."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmmft.export.variants.numeric_part import NumericPart, write_numeric_part
from kmmft.serving.converted_model import ONNX_FILE, onnx_session

ONNX_KINDS = ("onnx", "onnx_int8")
# The newest one that tf2onnx writes.
_OPSET = 18
_LARGEST_BYTES = 2**31
# Largest difference of the float32 file from the model, on so many examples.
_TOLERANCE = 1e-4
_CHECKED_ROWS = 4


def write_onnx(
    model: keras.Model,
    path: str | os.PathLike,
    examples: Mapping[str, Sequence],
    kind: str,
    **options: Any,
) -> pathlib.Path:
    """Converts what a model does with decoded images and token ids to ONNX.

    In `path/1/`: `model.onnx`, and beside it the same files as of `write_litert`.
    The file is kept if onnxruntime opens it and, before it is quantised, answers
    examples as the model does; `variant.json` says how far apart they are.

    - `onnx`: float32.
    - `onnx_int8`: int8 weights of matrices and embedding tables; activations quantised
      as they come (dynamic). Convolutions stay float32, since onnxruntime is several
      times slower on those of integers.

    Args:
        model: A model of `kmmft.models` with `serve`.
        path: Base directory; the model is written to `path/1/`.
        examples: Real raw inputs by name. The first four are compared.
        kind: `"onnx"` or `"onnx_int8"`.
        **options: `max_pixels` and `strict`, as in `export_model`.

    Returns:
        The directory of the version.

    Raises:
        ImportError: Without `pip install 'kmmft[onnx]'`.
        ValueError: If the kind is unknown, or the model has no single `serve`, is too
            large for a file, has operations that ONNX has not, or answers otherwise.
    """
    if kind not in ONNX_KINDS:
        raise ValueError(
            f"`kind` must be one of {', '.join(ONNX_KINDS)}. Received: {kind!r}."
        )
    _check_extra()
    directory = pathlib.Path(path, "1")
    part = write_numeric_part(model, directory, examples, **options)
    file = directory / ONNX_FILE
    _write(part, file)
    difference = _largest_difference(part, file, examples, _TOLERANCE)
    if kind == "onnx_int8":
        _quantise(file)
        difference = _largest_difference(part, file, examples, np.inf)
    part.describe(directory, kind, largest_absolute_difference=difference)
    return directory


def _check_extra() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{error}. ONNX variants need: pip install 'kmmft[onnx]'"
        ) from error


def _write(part: NumericPart, file: pathlib.Path) -> None:
    import onnx

    weights = sum(
        v.shape.num_elements() * v.dtype.size for v in part.function.variables
    )
    if weights > _LARGEST_BYTES:
        raise ValueError(
            "An ONNX file holds 2 GiB. Received: weights of "
            f"{weights / 2**30:.1f} GiB. Use another variant."
        )
    try:
        converted = _convert(part)
    except Exception as error:  # the converter raises all kinds
        raise ValueError(
            "The model must be made of operations that ONNX has. "
            f"Received: {str(error)[:1000]}. Use another variant."
        ) from error
    onnx.save(converted, file)


def _convert(part: NumericPart):
    """The model as an `onnx.ModelProto`.

    Not by `tf2onnx.convert.from_function`: that one makes an input of each constant
    that was captured, such as the position ids of a ViT, and copies the whole graph
    before each of its optimisations.
    """
    from tf2onnx import optimizer, tf_loader, tfonnx

    function = part.function
    inputs = [f"{name}:0" for name in part.inputs]
    outputs = {tensor.name: k for k, tensor in function.structured_outputs.items()}
    with tf.device("CPU:0"):
        frozen = tf_loader.from_function(function, inputs, list(outputs))
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(frozen, name="")
            converted = tfonnx.process_tf_graph(
                graph,
                input_names=inputs,
                output_names=list(outputs),
                opset=_OPSET,
                custom_op_handlers=dict(_HANDLERS),
                tensors_to_rename={**{f"{k}:0": k for k in part.inputs}, **outputs},
            )
    return optimizer.optimize_graph(converted, catch_errors=False).make_model("kmmft")


def _convert_erfc(graph, node, name, args) -> None:
    """1 - erf(x): GELU's operation, which ONNX has not and tf2onnx passes over."""
    from tf2onnx import utils

    dtype, shape = node.output_dtypes[0], node.output_shapes[0]
    one = np.array(1, utils.map_onnx_to_numpy_type(dtype))
    one = graph.make_const(utils.make_name("one"), one)
    erf = graph.make_node("Erf", node.input, dtypes=[dtype], shapes=[shape])
    outputs = node.output
    graph.remove_node(node.name)
    graph.make_node(
        "Sub",
        [one.output[0], erf.output[0]],
        outputs=outputs,
        name=node.name,
        dtypes=[dtype],
        shapes=[shape],
    )


def _convert_select(graph, node, name, args) -> None:
    """Of two values one: tf2onnx makes a sum of products, where a NaN comes back."""
    dtype, shape = node.output_dtypes[0], node.output_shapes[0]
    inputs, outputs = node.input, node.output
    graph.remove_node(node.name)
    graph.make_node(
        "Where",
        inputs,
        outputs=outputs,
        name=node.name,
        dtypes=[dtype],
        shapes=[shape],
    )


_HANDLERS = {"Erfc": (_convert_erfc, []), "SelectV2": (_convert_select, [])}


def _quantise(file: pathlib.Path) -> None:
    import onnx
    import onnxruntime
    from onnxruntime import quantization
    from onnxruntime.quantization.onnx_model import ONNXModel

    # Only weights that are constants by now are quantised.
    options = onnxruntime.SessionOptions()
    basic = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.graph_optimization_level = basic
    options.optimized_model_filepath = str(file)
    onnxruntime.InferenceSession(file.read_bytes(), options)
    loaded = onnx.load(file)
    # And those of MatMul: a Gemm becomes one if it would add once what it has not.
    for node in loaded.graph.node:
        if node.op_type == "Gemm" and len(node.input) == 2:
            next(a for a in node.attribute if a.name == "beta").f = 1.0
    wrapped = ONNXModel(loaded)
    wrapped.replace_gemm_with_matmul()
    quantization.quantize_dynamic(
        wrapped.model,
        file,
        op_types_to_quantize=["MatMul", "Gather"],
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
    )


def _largest_difference(
    part: NumericPart,
    file: pathlib.Path,
    examples: Mapping[str, Sequence],
    tolerance: float,
) -> float:
    session = onnx_session(file, threads=1)
    asked = sorted(tensor.name for tensor in session.get_inputs())
    if asked != sorted(part.inputs):
        raise ValueError(
            f"An ONNX file must take the model's inputs, {sorted(part.inputs)}. "
            f"Received: one that takes {asked}. Use another variant."
        )
    names = list(part.function.structured_outputs)
    largest = 0.0
    for row in part.prepared_rows(examples, _CHECKED_ROWS):
        answers = part.function(**{name: tf.constant(x) for name, x in row.items()})
        for name, found in zip(names, session.run(names, row), strict=True):
            expected = answers[name].numpy()
            same = found.shape == expected.shape and np.isfinite(found).all()
            gap = np.abs(found - expected).max(initial=0) if same else np.inf
            if not same or gap > tolerance:
                raise ValueError(
                    "An ONNX file must answer as the model does, to within "
                    f"{tolerance:g}. Received: a difference of {gap:g} in {name!r}. "
                    "Use another variant."
                )
            largest = max(largest, float(gap))
    return largest
