"""One model that compares images with texts and writes texts about images."""

import keras

from kmmft.layers import AttentionPooling, LogitScale, UnitLength
from kmmft.models.coca_captions import CoCaCaptions
from kmmft.models.coca_text import CoCaText, UpperHalf
from kmmft.models.coca_training import CoCaTraining
from kmmft.models.cross_attention_decoder import CrossAttentionDecoder
from kmmft.models.encoding import Encoding
from kmmft.models.raw_inputs import RawInputs
from kmmft.models.served_rows import ServedFunction
from kmmft.models.text_search import Greedy, TextSearch
from kmmft.models.token_texts import TokenTexts
from kmmft.models.towers import encoder_inputs


@keras.saving.register_keras_serializable("kmmft")
class CoCa(CoCaCaptions, Encoding, CoCaTraining, RawInputs, keras.Model):
    """Contrastive captioner: learns to compare and to write, in one pass.

    An attentional pooler reads the image's tokens with `num_queries` learnt queries,
    and a second one above it with a single query. The decoder's lower half reads the
    text alone; its last token is the text's vector, which is compared with the single
    query's. Its upper half looks at the many queries and writes the text. The loss is
    `contrastive_weight` times InfoNCE plus `caption_weight` times the mean
    cross-entropy of all words of the global batch; with a weight of 0 that loss is
    left out.

    What `DualEncoder` offers is here too: `encode_image`, `encode_text`, zero-shot
    classes, similarities. Batches are those of `DualEncoder`, with `image` and `text`.

    Args:
        image_encoder: `kmmft.encoders.ImageEncoder`.
        decoder: `CrossAttentionDecoder` with one or more `num_text_layers`.
        tokenizer: The KerasHub tokenizer of the texts, with as many words as the
            decoder.
        max_length: Longest text in tokens, start and end included.
        projection_dim: Width of the common space.
        num_queries: Queries of the pooler whose vectors the decoder looks at.
        contrastive_weight: Weight of the contrastive loss.
        caption_weight: Weight of the captioning loss.
        search: How texts are chosen: `kmmft.models.Greedy()` (default), `BeamSearch`
            or `Sampling`.
        logit_scale: First value of the learnt factor on the cosines.

    Call arguments:
        inputs: dict of `image`, `token_ids` int `(batch, max_length)` and
            `padding_mask` bool `(batch, max_length)`.

    Returns:
        dict of float32 tensors: `image` and `text` `(batch, projection_dim)`, each row
        of length 1, and `logits` `(batch, max_length - 1, words)`.

    Raises:
        ValueError: If the decoder has no layers of text alone, tokenizer and decoder
            differ in their number of words, texts are too long for the decoder, or
            the weights are negative or both 0.

    Example:
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat"]
        >>> backbone = keras_hub.models.ViTBackbone((32, 32, 3), 16, 1, 2, 8, 16)
        >>> model = kmmft.models.CoCa(
        ...     kmmft.encoders.ImageEncoder(backbone),
        ...     kmmft.models.CrossAttentionDecoder(
        ...         8, 16, 1, 2, max_length=6, num_text_layers=1
        ...     ),
        ...     keras_hub.tokenizers.BertTokenizer(words, lowercase=True),
        ...     max_length=6,
        ...     projection_dim=4,
        ...     num_queries=3,
        ... )
        >>> png = tf.io.encode_png(tf.zeros((40, 40, 3), tf.uint8)).numpy()
        >>> images, texts = model.encode_image([png]), model.encode_text(["a cat"])
        >>> model.similarity(images, texts).shape, len(model.caption([png]))
        ((1, 1), 1)

    References:
        - [Yu et al., 2022](https://arxiv.org/abs/2205.01917), section 3.2.
    """

    def __init__(
        self,
        image_encoder: keras.Model,
        decoder: CrossAttentionDecoder,
        tokenizer: keras.layers.Layer,
        max_length: int,
        projection_dim: int,
        num_queries: int = 256,
        contrastive_weight: float = 1.0,
        caption_weight: float = 2.0,
        search: TextSearch | None = None,
        logit_scale: float = 1 / 0.07,
        name: str = "coca",
        **kwargs,
    ):
        texts = TokenTexts(tokenizer, max_length)
        _check(decoder, texts, contrastive_weight, caption_weight)
        policy, dim, heads = decoder.dtype_policy, decoder.hidden_dim, decoder.num_heads

        def to_common_space(modality):
            return keras.Sequential(
                [
                    keras.layers.LayerNormalization(dtype=policy),
                    keras.layers.Dense(projection_dim, use_bias=False, dtype=policy),
                    UnitLength(dtype="float32"),
                ],
                name=f"{modality}_projection",
            )

        # === Layers ===
        text_encoder = CoCaText(decoder, texts)
        token_projection = keras.Sequential(
            [
                keras.layers.LayerNormalization(dtype=policy),
                keras.layers.Dense(dim, dtype=policy),
            ],
            name="image_tokens",
        )
        caption_pooler = AttentionPooling(
            heads, 4 * dim, num_queries=num_queries, dtype=policy, name="caption_pooler"
        )
        contrastive_pooler = AttentionPooling(
            heads, 4 * dim, dtype=policy, name="contrastive_pooler"
        )
        # === Functional model ===
        image = encoder_inputs(image_encoder)
        features = image_encoder(image)
        context = caption_pooler(
            token_projection(features["tokens"]), mask=features["mask"]
        )
        image_vector = to_common_space("image")(contrastive_pooler(context))
        text = encoder_inputs(text_encoder)
        read = text_encoder(text)
        text_vector = to_common_space("text")(read["pooled"])
        logits = UpperHalf(decoder)(read["tokens"], context, read["mask"])
        super().__init__(
            inputs={"image": image, **text},
            outputs={"image": image_vector, "text": text_vector, "logits": logits},
            name=name,
            **kwargs,
        )
        self.encoders = {"image": image_encoder, "text": text_encoder}
        self.towers = {
            "image": keras.Model(image, image_vector, name="image_tower"),
            "text": keras.Model(text, text_vector, name="text_tower"),
        }
        self.image_context = keras.Model(image, context, name="image_context")
        self.logit_scale_layer = LogitScale(logit_scale, name="logit_scale")
        # === Config ===
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.projection_dim = projection_dim
        self.num_queries = num_queries
        self.contrastive_weight = contrastive_weight
        self.caption_weight = caption_weight
        self.search = search or Greedy()
        self.initial_logit_scale = logit_scale
        self.missing_modalities = False
        self._texts = texts
        self.make_trackers()

    @property
    def logit_bias(self) -> None:
        """The logits have no summand."""
        return None

    def serving_functions(self, **options) -> dict[str, ServedFunction]:
        """As of `DualEncoder`, and `caption`: `image` to `text`, strings `(batch,)`.

        With a search that draws, `caption` also takes `seed`, int32 `(batch,)`, of
        which the first counts for all.

        Args:
            **options: As for `DualEncoder`.

        Returns:
            dict of functions of raw inputs.
        """
        functions = super().serving_functions(**options)
        own = {key: options[key] for key in ("strict", "max_pixels") if key in options}
        return {**functions, "caption": self.served_caption(**own)}

    def call(self, inputs, training=None, mask=None, **kwargs):
        inputs = {key: inputs[key] for key in self.input}
        return super().call(inputs, training=training, mask=mask, **kwargs)

    # === Config ===
    def get_config(self) -> dict:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "trainable": self.trainable,
            "image_encoder": serialize(self.encoders["image"]),
            "decoder": serialize(self.decoder),
            "tokenizer": serialize(self.tokenizer),
            "max_length": self.max_length,
            "projection_dim": self.projection_dim,
            "num_queries": self.num_queries,
            "contrastive_weight": self.contrastive_weight,
            "caption_weight": self.caption_weight,
            "search": serialize(self.search),
            "logit_scale": self.initial_logit_scale,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None):
        config = dict(config)
        for key in ("image_encoder", "decoder", "tokenizer", "search"):
            config[key] = keras.saving.deserialize_keras_object(
                config[key], custom_objects
            )
        return cls(**config)


def _check(decoder, texts, contrastive_weight, caption_weight) -> None:
    if not decoder.num_text_layers:
        raise ValueError(
            "The decoder of a CoCa must have blocks that read the text alone. "
            "Received: num_text_layers=0. Make it with num_text_layers=1 or more."
        )
    if (
        texts.has_vocabulary
        and (words := texts.tokenizer.vocabulary_size()) != decoder.vocabulary_size
    ):
        raise ValueError(
            "Tokenizer and decoder must have the same number of words. Received: "
            f"{words} and {decoder.vocabulary_size}."
        )
    if texts.max_length > decoder.max_length:
        raise ValueError(
            f"`max_length` must be at most {decoder.max_length} for this decoder. "
            f"Received: max_length={texts.max_length}."
        )
    weights = (contrastive_weight, caption_weight)
    if min(weights) < 0 or max(weights) == 0:
        raise ValueError(
            "The losses' weights must not be negative, nor both 0. Received: "
            f"contrastive_weight={contrastive_weight}, caption_weight={caption_weight}."
        )
