"""Served models: one SavedModel from raw bytes and strings, checked as it is written.

`run_saved_model.py` runs one with TensorFlow alone, from the command line.
"""

from kmmft.export.export_model import export_model
from kmmft.export.fresh_process import ask_in_fresh_process
from kmmft.export.parity import compare, largest_difference
from kmmft.export.saved_model import export_saved_model
from kmmft.export.signature import Signature

__all__ = [
    "Signature",
    "ask_in_fresh_process",
    "compare",
    "export_model",
    "export_saved_model",
    "largest_difference",
]
