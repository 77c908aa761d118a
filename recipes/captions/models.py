"""The models that write captions."""

from collections.abc import Sequence

import keras_hub

import kmmft

from ..writers.pretrained import pretrained_writer
from .settings import SEARCHES, Config

Model = kmmft.models.FusionGenerator | kmmft.models.CoCa


def build_model(config: Config, captions: Sequence[str]) -> Model:
    """The model of `config.model`, with the words of `captions` if from scratch."""
    if config.pretrained_writer:
        search = SEARCHES[config.search](config)
        return pretrained_writer(config, config.sequence_length, search=search)
    image_encoder = kmmft.encoders.ImageEncoder.from_preset(
        config.image_encoder,
        image_size=config.image_size,
        resize_mode=config.resize_mode,
    )
    image_encoder.trainable = config.train_image_encoder
    tokenizer, decoder = _words_and_decoder(config, captions)
    length, search = config.sequence_length, SEARCHES[config.search](config)
    if config.model == "coca":
        return kmmft.models.CoCa(
            image_encoder,
            decoder,
            tokenizer,
            max_length=length,
            projection_dim=config.projection_dim,
            num_queries=config.num_queries,
            contrastive_weight=config.contrastive_weight,
            caption_weight=config.caption_weight,
            search=search,
        )
    return kmmft.models.FusionGenerator(
        {"image": image_encoder}, decoder, tokenizer, max_length=length, search=search
    )


def _words_and_decoder(config: Config, captions: Sequence[str]) -> tuple:
    """The tokenizer of the captions, and what writes them."""
    if config.decoder != "scratch":
        return (
            keras_hub.tokenizers.GPT2Tokenizer.from_preset(config.decoder),
            kmmft.models.PrefixDecoder.from_preset(config.decoder),
        )
    known = kmmft.encoders.TextEncoder.from_preset(
        config.text_encoder, load_weights=False
    )
    tokenizer = kmmft.encoders.shrink_tokenizer(known.tokenizer, captions)
    decoder = kmmft.models.CrossAttentionDecoder(
        tokenizer.vocabulary_size(),
        config.hidden_dim,
        config.num_layers,
        config.num_heads,
        max_length=config.sequence_length,
        dropout_rate=config.dropout_rate,
        num_text_layers=config.num_layers if config.model == "coca" else 0,
    )
    return tokenizer, decoder
