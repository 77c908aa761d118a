"""Served models: one SavedModel from raw bytes and strings, checked as it is written.

`run_saved_model.py` runs one with TensorFlow alone, from the command line. `bundle/`
makes what stands beside it: model card, warm-up, server configuration, client.
`variants/` makes small and fast ones of it, and refuses those that lose accuracy.
"""

from kmmft.export.bundle.export_bundle import export_bundle
from kmmft.export.bundle.latency import measure_latency
from kmmft.export.bundle.model_card import ModelCard
from kmmft.export.bundle.serving_configs import promote
from kmmft.export.directory_size import megabytes
from kmmft.export.export_model import export_model, model_signatures
from kmmft.export.fresh_process import ask_in_fresh_process
from kmmft.export.parity import compare, largest_difference
from kmmft.export.saved_model import export_saved_model
from kmmft.export.signature import Signature
from kmmft.export.variants.export_variants import export_variants
from kmmft.export.variants.frozen import export_frozen
from kmmft.export.variants.litert import write_litert
from kmmft.export.variants.loaded_variant import LoadedVariant, load_variant
from kmmft.export.variants.onnx_model import write_onnx
from kmmft.export.variants.small_weights import export_small_weights
from kmmft.export.variants.variant import Variant, choose_variant, read_variants

__all__ = [
    "LoadedVariant",
    "ModelCard",
    "Signature",
    "Variant",
    "ask_in_fresh_process",
    "choose_variant",
    "compare",
    "export_bundle",
    "export_frozen",
    "export_model",
    "export_saved_model",
    "export_small_weights",
    "export_variants",
    "largest_difference",
    "load_variant",
    "measure_latency",
    "megabytes",
    "model_signatures",
    "promote",
    "read_variants",
    "write_litert",
    "write_onnx",
]
