"""Pretrained image and text encoders with one contract.

An encoder is a `keras.Model` that returns `pooled`, `tokens` and `mask`, and owns
its preprocessing.
"""

from kmmft.encoders.byte_strings import ByteStrings
from kmmft.encoders.efficientnet_lite import (
    EfficientNetLite0Backbone,
    load_imagenet_weights,
)
from kmmft.encoders.exact_gelu_bert import ExactGeluBertBackbone
from kmmft.encoders.image_encoder import ImageEncoder
from kmmft.encoders.resize_backbone import resize_backbone
from kmmft.encoders.saved_model_layer import SavedModelLayer
from kmmft.encoders.seq2seq_encoder import Seq2SeqEncoder
from kmmft.encoders.text_encoder import TextEncoder
from kmmft.encoders.torch_checkpoint import read_legacy_checkpoint

__all__ = [
    "ByteStrings",
    "EfficientNetLite0Backbone",
    "ExactGeluBertBackbone",
    "ImageEncoder",
    "SavedModelLayer",
    "Seq2SeqEncoder",
    "TextEncoder",
    "load_imagenet_weights",
    "read_legacy_checkpoint",
    "resize_backbone",
]
