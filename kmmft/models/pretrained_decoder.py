"""What the decoder halves of larger backbones have in common."""

import copy
import json

import keras

from kmmft.encoders.encoder_half import shared_config
from kmmft.encoders.frozen_layers import freeze_as_configured


class PretrainedDecoder:
    """Mixin for a decoder made of a backbone that has an encoder, too.

    Only the backbone's configuration is kept: a reference to it would keep the
    encoder's weights among this layer's.
    """

    # Some models round their number of words up, or leave special ones out: T5 has
    # 32,128, of which its tokenizer's file holds 32,000.
    spare_words = 128
    # Its blocks have depths, as an encoder's; see `kmmft.finetuning.layer_depths`.
    pretrained = True

    def _keep_config(self, backbone: keras.Model) -> None:
        self._backbone_config = shared_config(backbone)

    def build(self, *_):
        """All layers were built with the backbone."""

    def get_config(self) -> dict:
        return {
            **keras.layers.Layer.get_config(self),
            "backbone": json.loads(self._backbone_config),
        }

    @classmethod
    def from_config(cls, config: dict):
        # A copy: KerasHub's Gemma 3 writes into the config that it is made from.
        own = copy.deepcopy(config["backbone"])
        backbone = keras.saving.deserialize_keras_object(own)
        return freeze_as_configured(cls(**{**config, "backbone": backbone}))
