"""What is wrong with KerasHub 0.32's BLIP-2."""

import keras
import keras_hub
from keras_hub.src.utils import preset_utils
from keras_hub.src.utils.keras_utils import gelu_approximate


def backbone_from_preset(handle: str, load_weights: bool) -> keras.Model:
    """`keras_hub.models.Backbone.from_preset`, also of a Flan-T5's output layer.

    KerasHub makes that layer's weights with the first text, after those of the preset
    were loaded: they would stay random.

    Args:
        handle: A preset of KerasHub or of Hugging Face.
        load_weights: False gives the architecture with random weights.
    """
    models = keras_hub.models
    loader = preset_utils.get_preset_loader(handle)
    mends = isinstance(loader, preset_utils.KerasPresetLoader) and issubclass(
        loader.check_backbone_class(), models.BLIP2Backbone
    )
    backbone = models.Backbone.from_preset(
        handle, load_weights=load_weights and not mends
    )
    if mends and load_weights:
        if isinstance(backbone.language_model, models.BLIP2FlanT5):
            build_head(backbone.language_model)
        loader._load_backbone_weights(backbone)
    return backbone


def tell_dtype(model: keras.Model) -> None:
    """Makes a part of a BLIP-2 say what its layers compute in, not Keras' default.

    So it comes back from its config. KerasHub's backbones know it themselves.
    """
    if not isinstance(model, keras_hub.models.Backbone):
        layer = next(layer for layer in model.layers if layer.weights)
        model.dtype_policy = layer.dtype_policy


def build_head(language_model: keras.Model) -> keras.layers.Layer:
    """The output layer of a `keras_hub.models.BLIP2FlanT5`, with weights."""
    if not language_model.lm_head.built:
        language_model.lm_head.build((None, None, language_model.hidden_dim))
    return language_model.lm_head


def gelu_as_pretrained(language_model: keras.Model) -> None:
    """Gives a `keras_hub.models.BLIP2FlanT5` the activation of its authors.

    It is GELU's approximation by tanh; KerasHub's is exact.
    """
    t5 = language_model.t5
    for block in (*t5.encoder_transformer_layers, *t5.decoder_transformer_layers):
        block.input_projector.activation = gelu_approximate
