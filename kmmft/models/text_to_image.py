"""Pictures from texts."""

import keras
import tensorflow as tf
from keras import ops
from keras_hub.layers import PositionEmbedding, TransformerDecoder

from kmmft.models.image_tokenizer import ImageTokenizer
from kmmft.models.raw_inputs import RawInputs, batch_inputs, select_inputs
from kmmft.models.text_to_image_generation import ImageGeneration
from kmmft.training import DistributedTraining
from kmmft.training.collectives import num_replicas
from kmmft.training.restored_compile import RestoredCompile


@keras.saving.register_keras_serializable("kmmft")
class TextToImage(
    ImageGeneration, RawInputs, RestoredCompile, DistributedTraining, keras.Model
):
    """Predicts an image's codes one after the other, from a text and those before.

    A functional Keras model: the text encoder's tokens and then the codes that the
    image tokenizer finds in the picture go through one causal transformer, as in
    DALL-E. The tokenizer stays frozen. The loss is the mean cross-entropy of the
    codes. `generate` draws pictures, and so does the exported model.

    For guidance (`guidance_scale` of `generate`) train with some empty texts, by
    `kmmft.data`'s caption dropout: the empty text is the condition-free one.

    Args:
        text_encoder: Its tokens are the condition. Trains unless `trainable` is False.
        image_tokenizer: A trained `ImageTokenizer`.
        hidden_dim: Width of the transformer.
        num_layers: Its blocks.
        num_heads: Attention heads of a block; must divide `hidden_dim`.
        dropout_rate: Dropout in the blocks.

    Call arguments:
        inputs: dict of `image` float `(batch, height, width, 3)` in [0, 255],
            `token_ids` int32 and `padding_mask` bool `(batch, sequence_length)`.

    Returns:
        dict of `logits` float32 `(batch, codes of an image, num_codes)` and
        `image_token_ids` int32 `(batch, codes of an image)`, what they should predict.

    Raises:
        ValueError: If `hidden_dim` does not divide by `num_heads`.

    Example:
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue"]
        >>> model = kmmft.models.TextToImage(
        ...     kmmft.encoders.TextEncoder(
        ...         keras_hub.models.BertBackbone(7, 1, 2, 8, 16),
        ...         keras_hub.models.BertTokenizer(words, lowercase=True),
        ...         sequence_length=6,
        ...     ),
        ...     kmmft.models.ImageTokenizer(16, 8, 4, widths=(8, 8), blocks=0),
        ...     hidden_dim=8, num_layers=1, num_heads=2,
        ... )
        >>> model.generate(["red", "blue"], seed=1).shape
        (2, 16, 16, 3)

    References:
        - [Ramesh et al., 2021](https://arxiv.org/abs/2102.12092), 2.
    """

    def __init__(
        self,
        text_encoder: keras.Model,
        image_tokenizer: ImageTokenizer,
        hidden_dim: int = 256,
        num_layers: int = 4,
        num_heads: int = 4,
        dropout_rate: float = 0.0,
        name: str = "text_to_image",
        **kwargs,
    ):
        if hidden_dim % num_heads:
            raise ValueError(
                "`num_heads` must divide `hidden_dim`. "
                f"Received: hidden_dim={hidden_dim}, num_heads={num_heads}."
            )
        image_tokenizer.trainable = False
        encoders = {"text": text_encoder}
        # === Layers ===
        text_length = text_encoder.sequence_length
        code_count = image_tokenizer.grid[0] * image_tokenizer.grid[1]
        self_made = {
            "text_projection": keras.layers.Dense(hidden_dim, name="text_projection"),
            # The code after the last one begins the image.
            "code_embedding": keras.layers.Embedding(
                image_tokenizer.num_codes + 1, hidden_dim, name="code_embedding"
            ),
            "positions": PositionEmbedding(text_length + code_count, name="positions"),
            "blocks": [
                TransformerDecoder(
                    4 * hidden_dim,
                    num_heads,
                    dropout_rate,
                    activation="gelu",
                    normalize_first=True,
                    name=f"block_{number}",
                )
                for number in range(num_layers)
            ],
            "last_norm": keras.layers.LayerNormalization(name="last_norm"),
            "code_logits": keras.layers.Dense(
                image_tokenizer.num_codes, dtype="float32", name="code_logits"
            ),
        }
        # === Functional model ===
        inputs = batch_inputs(encoders)
        inputs["image"] = keras.Input((*image_tokenizer.image_size, 3), name="image")
        text = text_encoder(select_inputs("text", text_encoder, inputs))
        codes = image_tokenizer(inputs["image"], training=False)["token_ids"]
        begin = ops.full_like(codes[:, :1], image_tokenizer.num_codes)
        before = ops.concatenate([begin, codes[:, :-1]], axis=1)
        x = ops.concatenate(
            [
                self_made["text_projection"](text["tokens"]),
                self_made["code_embedding"](before),
            ],
            axis=1,
        )
        x = x + self_made["positions"](x)
        mask = ops.concatenate([text["mask"], ops.ones_like(codes, "bool")], axis=1)
        for block in self_made["blocks"]:
            x = block(x, decoder_padding_mask=mask)
        x = self_made["last_norm"](x[:, text_length:])
        outputs = {
            "logits": self_made["code_logits"](x),
            "image_token_ids": codes,
        }
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        for key, layer in self_made.items():
            setattr(self, key, layer)
        # === Config ===
        self.encoders = encoders
        self.missing_modalities = False
        self.text_encoder = text_encoder
        self.image_tokenizer = image_tokenizer
        self.text_length = text_length
        self.code_count = code_count
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate

    def compile(self, optimizer="adamw", **kwargs) -> None:
        """As `keras.Model.compile`; the loss is the model's own.

        Args:
            optimizer: A Keras optimizer or its name.
            **kwargs: Further arguments of `keras.Model.compile`.
        """
        self.forget_graphs()
        super().compile(optimizer=optimizer, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            y_pred["image_token_ids"], y_pred["logits"]
        )
        # Part of a sum over the replicas.
        return tf.reduce_mean(losses) / num_replicas()

    def prepare_batch(self, batch, keep_records: bool = False):
        """Makes what `fit` takes: a `batch_preprocess` for `build_dataset`.

        Args:
            batch: Batch of records with a decoded `image` and one `text` each.
            keep_records: Whether to return the records beside the model's inputs.

        Returns:
            dict of the model's inputs.
        """
        inputs = {**self.preprocess({"text": batch["text"]}), "image": batch["image"]}
        return {**batch, **inputs} if keep_records else inputs

    # === Config ===
    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "trainable": self.trainable,
            "text_encoder": serialize(self.text_encoder),
            "image_tokenizer": serialize(self.image_tokenizer),
            "hidden_dim": self.hidden_dim,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "dropout_rate": self.dropout_rate,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        deserialize = keras.saving.deserialize_keras_object
        parts = {
            key: deserialize(config[key], custom_objects)
            for key in ("text_encoder", "image_tokenizer")
        }
        return cls(**{**config, **parts})
