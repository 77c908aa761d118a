"""What the encoder halves of larger backbones have in common."""

import copy
import json
import uuid

import keras
import keras_hub

from kmmft.encoders.blip2_repairs import tell_dtype
from kmmft.encoders.frozen_layers import freeze_as_configured


def shared_config(backbone: keras.Model) -> str:
    """A backbone's config; two halves that keep it come back as halves of one backbone.

    Keras marks such parts itself, but not in configs that were made earlier.

    Args:
        backbone: Of which an encoder or a decoder takes its layers.

    Returns:
        What `keras.saving.serialize_keras_object` returns, as JSON: Keras would track a
        dict, and a copy of it would be a copy of the model.
    """
    if not hasattr(backbone, "_shared_key"):
        backbone._shared_key = uuid.uuid4().hex
    tell_dtype(backbone)
    config = keras.saving.serialize_keras_object(backbone)
    return json.dumps({**config, "shared_object_id": backbone._shared_key})


class EncoderHalf(keras.Model):
    """The encoder of a backbone that has a decoder, too.

    Only the backbone's configuration is kept: a reference to it would keep the
    decoder's weights among this model's.
    """

    def _keep_config(self, backbone: keras_hub.models.Backbone) -> None:
        self._backbone_config = shared_config(backbone)
        self.hidden_dim = backbone.hidden_dim

    def get_config(self) -> dict:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "backbone": json.loads(self._backbone_config),
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        # A copy: KerasHub's Gemma 3 writes into the config that it is made from.
        own = copy.deepcopy(config["backbone"])
        backbone = keras.saving.deserialize_keras_object(own, custom_objects)
        return freeze_as_configured(cls(**{**config, "backbone": backbone}))
