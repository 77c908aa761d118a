"""Runnable scripts, one a capability: `python -m recipes.NAME --help`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# TensorFlow's native code reports on its own loading, whatever its log level; that
# would hide what a recipe has to say. A failing import still raises.
_stderr, _nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(_nowhere, 2)
try:
    import tensorflow  # noqa: F401
finally:
    os.dup2(_stderr, 2)
    os.close(_stderr)
    os.close(_nowhere)
