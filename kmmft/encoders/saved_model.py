"""Backbones around SavedModels, in the form that the encoders take."""

import keras
import keras_hub

from kmmft.encoders.byte_strings import ByteStrings
from kmmft.encoders.saved_model_layer import SavedModelLayer


def image_backbone(
    handle: str, image_size: tuple[int, int], output_key: str | None, trainable: bool
) -> keras.Model:
    """A functional model from normalised images to a SavedModel's output."""
    image = keras.Input((*image_size, 3), name="images")
    layer = SavedModelLayer(handle, output_key, trainable=trainable, name="saved_model")
    return keras.Model(image, layer(image), name="image_backbone")


def text_backbone(
    handle: str, output_key: str | None, trainable: bool
) -> tuple[keras.Model, keras.layers.Layer]:
    """A functional model from bytes to a SavedModel's output, and its tokenizer."""
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    padding_mask = keras.Input((None,), dtype="bool", name="padding_mask")
    texts = ByteStrings(name="byte_strings")(token_ids, padding_mask)
    layer = SavedModelLayer(handle, output_key, trainable=trainable, name="saved_model")
    backbone = keras.Model(
        {"token_ids": token_ids, "padding_mask": padding_mask},
        layer(texts),
        name="text_backbone",
    )
    # The module itself decides about case and accents.
    return backbone, keras_hub.tokenizers.ByteTokenizer(lowercase=False)
