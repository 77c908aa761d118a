"""Which operations an exported graph is made of."""

import functools
import importlib.util
import pathlib

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

# Functions of the process that traced the graph: gone with it.
_PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction"}
# The Python API has no functions of these names.
_UNNAMED_CORE_OPS = {"Const", "Placeholder", "_Arg", "_Retval"}
# In TensorFlow's library too, but in another module: what `keras.ops.slice_update`, and
# so the cache of a model that writes, is made of.
_UNNAMED_CORE_OPS |= {"XlaDynamicUpdateSlice"}


def graph_ops(directory: pathlib.Path) -> set[str]:
    """Names of all operations of a SavedModel, those of its functions included."""
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((directory / "saved_model.pb").read_bytes())
    names = set()
    for meta_graph in saved.meta_graphs:
        graph = meta_graph.graph_def
        names |= {node.op for node in graph.node}
        own_functions = {function.signature.name for function in graph.library.function}
        for function in graph.library.function:
            names |= {node.op for node in function.node_def}
        names -= own_functions
    return names


def check_graph_ops(directory: pathlib.Path) -> list[str]:
    """Checks that a SavedModel needs TensorFlow and tensorflow_text alone.

    Args:
        directory: The SavedModel.

    Returns:
        Names of the tensorflow_text operations in it.

    Raises:
        ValueError: If there are others, or calls of Python functions.
    """
    names = graph_ops(directory)
    core = {name for name in names if hasattr(tf.raw_ops, name)} | _UNNAMED_CORE_OPS
    text = {name for name in names - core if _is_text_op(name)}
    wrong = sorted((names - core - text) | (names & _PYTHON_OPS))
    if wrong:
        raise ValueError(
            "An exported model may be made only of operations of TensorFlow and "
            f"tensorflow_text, without calls of Python. Received: {wrong}. Write what "
            "uses them in TensorFlow."
        )
    return sorted(text)


def _is_text_op(name: str) -> bool:
    # In Python "TFText>FastWordpieceDetokenize" has a name that Python can spell.
    attribute = name.replace(">", "_")
    return any(hasattr(library, attribute) for library in load_text_ops())


@functools.cache
def load_text_ops() -> list:
    """Loads the operations of tensorflow_text, which exported text models need.

    Returns:
        The modules of its libraries; none if it is not installed.
    """
    spec = importlib.util.find_spec("tensorflow_text")
    if spec is None:
        return []
    folder = pathlib.Path(spec.submodule_search_locations[0], "python", "ops")
    # Loading a library again only gives the module of its operations.
    return [tf.load_op_library(str(file)) for file in sorted(folder.glob("*.so"))]
