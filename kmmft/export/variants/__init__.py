"""Small and fast variants of an exported model: one file per kind.

`small_weights.py` and `litert.py` write them, `loaded_variant.py` answers with them,
`export_variants.py` measures them and refuses those that lose too much.
"""
