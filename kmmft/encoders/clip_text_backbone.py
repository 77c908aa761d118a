"""CLIP's text encoder with the last layer norm that CLIP was trained with."""

import keras
import keras_hub


@keras.saving.register_keras_serializable("kmmft")
class ClipTextBackbone(keras_hub.models.CLIPTextEncoder):
    """`keras_hub.models.CLIPTextEncoder` with 1e-5 in its last layer norm.

    KerasHub adds 1e-6 to the variance there, and 1e-5, as OpenAI and open_clip do,
    everywhere else. Arguments are those of the base class.

    References:
        - [Radford et al., 2021](https://arxiv.org/abs/2103.00020), section 2.4.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.layer_norm.epsilon = 1e-5

    @classmethod
    def from_backbone(cls, backbone: keras_hub.models.CLIPTextEncoder):
        """The same weights with the other epsilon.

        Args:
            backbone: A CLIP text encoder of KerasHub.

        Returns:
            A new backbone; `backbone` is unchanged.
        """
        exact = cls.from_config(backbone.get_config())
        exact.set_weights(backbone.get_weights())
        return exact
