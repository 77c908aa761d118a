"""The encoder half of an encoder-decoder text backbone."""

import keras
import keras_hub

from kmmft.encoders.encoder_half import EncoderHalf


@keras.saving.register_keras_serializable("kmmft")
class Seq2SeqEncoder(EncoderHalf):
    """The encoder of a T5 or BART backbone, without the decoder's weights.

    Shares its layers with `backbone`, which may be thrown away.

    Args:
        backbone: A `keras_hub.models.T5Backbone` or `BartBackbone`.

    Call arguments:
        inputs: dict of `token_ids` int `(batch, length)` and `padding_mask`
            `(batch, length)`, non-zero marks real tokens.

    Returns:
        float tensor `(batch, length, hidden_dim)`.

    Raises:
        ValueError: If `backbone` has no encoder half.

    Example:
        >>> t5 = keras_hub.models.T5Backbone(30, 1, 2, 8, 16)
        >>> encoder = kmmft.encoders.Seq2SeqEncoder(t5)
        >>> ids = np.ones((2, 5), "int32")
        >>> encoder({"token_ids": ids, "padding_mask": ids}).shape
        TensorShape([2, 5, 8])
    """

    def __init__(self, backbone: keras.Model, **kwargs):
        if not isinstance(
            backbone, keras_hub.models.T5Backbone | keras_hub.models.BartBackbone
        ):
            raise ValueError(
                "`backbone` must be a T5Backbone or a BartBackbone. "
                f"Received: backbone of type {type(backbone).__name__}"
            )
        # === Functional model ===
        names = ("encoder_token_ids", "encoder_padding_mask")
        encoder = keras.Model(
            {name: backbone.input[name] for name in names},
            backbone.output["encoder_sequence_output"],
            name="encoder",
        )
        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        padding_mask = keras.Input((None,), dtype="int32", name="padding_mask")
        super().__init__(
            inputs={"token_ids": token_ids, "padding_mask": padding_mask},
            outputs=encoder(
                {
                    "encoder_token_ids": token_ids,
                    "encoder_padding_mask": padding_mask,
                }
            ),
            **kwargs,
        )
        # === Config ===
        self._keep_config(backbone)
        self.uses_start_token = isinstance(backbone, keras_hub.models.BartBackbone)
        self.max_sequence_length = getattr(backbone, "max_sequence_length", None)
