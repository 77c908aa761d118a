"""BERT with the exact GELU, which Hugging Face's `hidden_act: gelu` means."""

import keras
import keras_hub


@keras.saving.register_keras_serializable("kmmft")
class ExactGeluBertBackbone(keras_hub.models.BertBackbone):
    """`keras_hub.models.BertBackbone` with the exact GELU in its feed-forwards.

    KerasHub builds every BERT with the tanh approximation, as Google's own
    checkpoints want it. Most Hugging Face checkpoints were trained with the exact
    function; the difference is about 2e-4 in the outputs. Arguments are those of
    the base class.

    References:
        - [Hendrycks and Gimpel, 2016](https://arxiv.org/abs/1606.08415), sec. 2.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for layer in self.transformer_layers:
            layer.activation = keras.activations.gelu
            # The layer was built by the base class: mend the built Dense too.
            layer._feedforward_intermediate_dense.activation = keras.activations.gelu

    @classmethod
    def from_backbone(cls, backbone: keras_hub.models.BertBackbone):
        """The same weights with the exact GELU.

        Args:
            backbone: A BERT backbone with the approximate GELU.

        Returns:
            A new backbone; `backbone` is unchanged.
        """
        exact = cls.from_config(backbone.get_config())
        exact.set_weights(backbone.get_weights())
        return exact
