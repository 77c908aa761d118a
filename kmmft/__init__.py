"""Multimodal fine-tuning for TensorFlow and Keras 3.

The rooms load on first use (``kmmft.layers``, ``kmmft.data``, ...), so that
``import kmmft`` costs nothing and the data tools need not wait for KerasHub.
"""

import importlib
from types import ModuleType

_ROOMS = (
    "data",
    "layers",
    "losses",
    "metrics",
    "encoders",
    "training",
    "finetuning",
    "models",
    "evaluation",
    "export",
    "serving",
)

__all__ = list(_ROOMS)
__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return importlib.import_module(f"kmmft.{name}")
    raise AttributeError(f"module 'kmmft' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
