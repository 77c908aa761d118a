"""Served models: one SavedModel from raw bytes and strings, checked as it is written.

`run_saved_model.py` runs one with TensorFlow alone, from the command line. `bundle/`
makes what stands beside it: model card, warm-up, server configuration, client.
"""

from kmmft.export.bundle.export_bundle import export_bundle
from kmmft.export.bundle.model_card import ModelCard
from kmmft.export.bundle.serving_configs import promote
from kmmft.export.export_model import export_model, model_signatures
from kmmft.export.fresh_process import ask_in_fresh_process
from kmmft.export.parity import compare, largest_difference
from kmmft.export.saved_model import export_saved_model
from kmmft.export.signature import Signature

__all__ = [
    "ModelCard",
    "Signature",
    "ask_in_fresh_process",
    "compare",
    "export_bundle",
    "export_model",
    "export_saved_model",
    "largest_difference",
    "model_signatures",
    "promote",
]
