"""Small and fast variants of an exported model: one file per kind.

`frozen.py`, `small_weights.py`, `litert.py` and `onnx_model.py` write them, the latter
two with `numeric_part.py`; `loaded_variant.py` answers with them, `export_variants.py`
measures them and refuses those that lose too much.
"""
