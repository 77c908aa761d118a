"""What the encoder halves of larger backbones have in common."""

import keras
import keras_hub


class EncoderHalf(keras.Model):
    """The encoder of a backbone that has a decoder, too.

    Only the backbone's configuration is kept: a reference to it would keep the
    decoder's weights among this model's.
    """

    def _keep_config(self, backbone: keras_hub.models.Backbone) -> None:
        self._backbone_config = keras.saving.serialize_keras_object(backbone)
        self.hidden_dim = backbone.hidden_dim

    def get_config(self) -> dict:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "backbone": self._backbone_config,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        backbone = keras.saving.deserialize_keras_object(
            config["backbone"], custom_objects=custom_objects
        )
        return cls(**{**config, "backbone": backbone})
