"""Writes a served model, and keeps it only if it answers as the model here does."""

import dataclasses
import json
import logging
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow.saved_model.experimental import TrackableResource

from kmmft.export import parity
from kmmft.export.graph_ops import check_graph_ops
from kmmft.export.signature import Signature

logger = logging.getLogger(__name__)

Function = tf.types.experimental.ConcreteFunction


@dataclasses.dataclass(frozen=True)
class CheckedModel:
    """A written model that answers as it should, before it gets its name.

    Args:
        directory: Where it is now. Files may be added.
        version: The version that it will be.
        functions: Its signatures as they were traced in this process.
        requests: The examples that it was checked on, by signature and input.
    """

    directory: pathlib.Path
    version: int
    functions: Mapping[str, Function]
    requests: Mapping[str, Mapping[str, tf.Tensor]]


def export_saved_model(
    path: str | os.PathLike,
    signatures: Mapping[str, Signature],
    *,
    examples: Mapping[str, Sequence[Any]],
    resources: Sequence[Any] = (),
    tolerance: float = 1e-5,
    version: int | None = None,
    finish: Callable[[CheckedModel], None] | None = None,
) -> pathlib.Path:
    """Writes one SavedModel that takes raw bytes and strings, and checks it.

    The artefact needs only TensorFlow and tensorflow_text's ops, which is checked, and
    holds each weight once, whatever the number of signatures. Before it gets its name,
    the examples are answered by it in a fresh process that cannot import Keras or
    kmmft, and compared with the same graphs run in this process, both on the CPU.
    `assets.extra/parity.json` keeps the result.
    Where anything fails, nothing is left behind.

    Args:
        path: Base directory, as TensorFlow Serving takes it. The model is written
            to `path/VERSION/`.
        signatures: Entry points by name. The usual name of the main one is
            `serving_default`. One that stands under two names is stored once.
        examples: Real raw inputs by name, a few rows each. Each signature is checked
            on the inputs that it takes.
        resources: What holds lookup tables or tokenizer models: tables, tokenizers,
            encoders, models. Only these parts of them are stored; the weights that
            the signatures use are found without being named here.
        tolerance: Largest absolute difference of a number that is let pass. Strings
            must be equal.
        version: Number of the version. Default: one after the highest one there is.
        finish: Called with the checked model before it gets its name; may add files.

    Returns:
        The directory of the version.

    Raises:
        ValueError: If the version exists, an example is missing, a signature uses
            a table that `resources` does not hold, or the answers differ.

    Example::

        kmmft.export.export_saved_model(
            "runs/quickstart/export",
            {
                "serving_default": kmmft.export.Signature(
                    model.serve,
                    {
                        "image": tf.TensorSpec([None], tf.string),
                        "question": tf.TensorSpec([None], tf.string),
                    },
                )
            },
            resources=[question_encoder, answer_table],
            examples={"image": [png_bytes], "question": ["what is the shape?"]},
        )
    """
    base = pathlib.Path(path)
    requests = _requests(signatures, examples)
    traced = _trace(signatures)
    existed = base.exists()
    final = _version_directory(base, version)
    try:
        base.mkdir(parents=True, exist_ok=True)
        # A server that watches the base directory looks only at numbers. The model
        # is one level down because `mkdtemp` shuts other users out.
        with tempfile.TemporaryDirectory(prefix=".export-", dir=base) as folder:
            written = pathlib.Path(folder, "model")
            _save(written, traced, resources)
            _check(written, traced, requests, tolerance)
            if finish is not None:
                finish(CheckedModel(written, int(final.name), traced, requests))
            written.rename(final)
    except BaseException:
        if not existed and base.is_dir() and not any(base.iterdir()):
            base.rmdir()
        raise
    logger.info("Exported %s to %s", ", ".join(signatures), final)
    return final


def _requests(
    signatures: Mapping[str, Signature], examples: Mapping[str, Sequence[Any]]
) -> dict[str, dict[str, tf.Tensor]]:
    if not signatures:
        raise ValueError(
            "An export needs a signature. Received: none. Give for example "
            "{'serving_default': kmmft.export.Signature(...)}."
        )
    requests = {}
    for name, signature in signatures.items():
        try:
            requests[name] = signature.example_inputs(examples)
        except KeyError as error:
            raise ValueError(
                f"Signature {name!r} must be checked on examples of all its inputs. "
                f"Received: examples of {sorted(examples)}, none of [{error}]. Add a "
                "few rows of each to `examples`."
            ) from error
    return requests


def _trace(
    signatures: Mapping[str, Signature],
) -> dict[str, Function]:
    graphs = {}
    for name, signature in signatures.items():
        # The same one under a second name needs no graph of its own.
        if id(signature) not in graphs:
            graphs[id(signature)] = signature.trace(name)
    return {name: graphs[id(signature)] for name, signature in signatures.items()}


def _version_directory(base: pathlib.Path, version: int | None) -> pathlib.Path:
    if base.exists() and not base.is_dir():
        raise ValueError(
            f"`path` must be a directory. Received: the file {str(base)!r}. Name "
            "another one, or move the file away."
        )
    names = [entry.name for entry in base.iterdir()] if base.exists() else []
    if version is None:
        version = 1 + max((int(name) for name in names if name.isdecimal()), default=0)
    if not isinstance(version, int) or version < 1:
        raise ValueError(
            f"`version` must be a whole number from 1. Received: {version!r}. Leave "
            "it out to take the next free one."
        )
    if str(version) in names:
        raise ValueError(
            "An exported version must not be overwritten: a server may be reading "
            f"it. Received: {str(base / str(version))!r}. Leave `version` out to "
            "take the next free one."
        )
    return base / str(version)


def _save(
    directory: pathlib.Path,
    traced: Mapping[str, Function],
    resources: Sequence[Any],
) -> None:
    # Plain TensorFlow, not `keras.export.ExportArchive`: that one stores the weights
    # of every tracked Keras object a second time, and loses the inputs' names.
    module = tf.Module()
    variables = (v for function in traced.values() for v in function.variables)
    module.model_variables = list({id(v): v for v in variables}.values())
    module.resources = list(_resources_within(resources))
    try:
        tf.saved_model.save(module, str(directory), signatures=dict(traced))
    except (AssertionError, ValueError) as error:
        if "'untracked' resource" not in str(error):
            raise
        raise ValueError(
            "Every table or tokenizer that a signature uses must be held by one of "
            f"`resources`. Received: {[type(r).__name__ for r in resources]}. Add "
            f"what holds the one in this message: {error!s}"
        ) from error


def _resources_within(roots: Sequence[Any]) -> Iterable[TrackableResource]:
    cache = {}

    class SavedModelView(tf.train.TrackableView):
        @classmethod
        def children(cls, obj, save_type="savedmodel", **kwargs):
            if isinstance(obj, keras.Layer):
                # The walk for a SavedModel would trace a signature of each model
                # inside, which takes longer than all the rest of a small export.
                return super().children(obj) | {"collections": _collections(obj)}
            try:
                return super().children(obj, save_type, cache=cache)
            except TypeError:  # a call with required keywords: it holds no table
                return {}

    seen = {}
    for root in roots:
        for node in SavedModelView(root).descendants():
            if isinstance(node, TrackableResource):
                seen[id(node)] = node
    return seen.values()


def _collections(layer: keras.Layer) -> tf.Module:
    """The lists and dicts of a layer, which Keras hides from a walk for checkpoints."""
    module = tf.Module()
    module.held = {}
    layer._convert_tracked_collections(module.held)
    return module


def _check(
    directory: pathlib.Path,
    traced: Mapping[str, Function],
    requests: Mapping[str, Mapping[str, tf.Tensor]],
    tolerance: float,
) -> None:
    text_ops = check_graph_ops(directory)
    expected = {
        name: parity.answers_in_process(function, requests[name])
        for name, function in traced.items()
    }
    received = parity.answers_in_fresh_process(directory, requests)
    difference = parity.compare(expected, received, tolerance, requests)
    report = {
        "tensorflow": tf.__version__,
        "tensorflow_text_ops": text_ops,
        "tolerance": tolerance,
        "largest_absolute_difference": difference,
        "rows": {
            name: max((len(value) for value in inputs.values()), default=0)
            for name, inputs in requests.items()
        },
    }
    extra = directory / "assets.extra"
    extra.mkdir(exist_ok=True)
    (extra / "parity.json").write_text(json.dumps(report, indent=2) + "\n")
