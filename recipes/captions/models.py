"""The models that write captions."""

from collections.abc import Sequence

import keras_hub

import kmmft

from .settings import SEARCHES, Config

Model = kmmft.models.FusionGenerator | kmmft.models.CoCa


def build_model(config: Config, captions: Sequence[str]) -> Model:
    """The model of `config.model`, with the words of `captions` if from scratch."""
    image_encoder = kmmft.encoders.ImageEncoder.from_preset(
        config.image_encoder,
        image_size=config.image_size,
        resize_mode=config.resize_mode,
    )
    image_encoder.trainable = config.train_image_encoder
    model = _assemble(config, image_encoder, captions)
    if config.train_image_encoder and config.image_learning_rate_scale != 1:
        kmmft.finetuning.presets.full(
            "image_encoder/*", learning_rate_scale=config.image_learning_rate_scale
        ).apply(model)
    return model


def _assemble(config: Config, image_encoder, captions: Sequence[str]) -> Model:
    search = SEARCHES[config.search](config)
    if config.decoder != "scratch":
        return kmmft.models.FusionGenerator(
            {"image": image_encoder},
            kmmft.models.PrefixDecoder.from_preset(config.decoder),
            keras_hub.tokenizers.GPT2Tokenizer.from_preset(config.decoder),
            max_length=config.sequence_length,
            search=search,
        )
    coca = config.model == "coca"
    tokenizer = kmmft.encoders.shrink_tokenizer(
        kmmft.encoders.TextEncoder.from_preset(
            config.text_encoder, load_weights=False
        ).tokenizer,
        captions,
    )
    decoder = kmmft.models.CrossAttentionDecoder(
        tokenizer.vocabulary_size(),
        config.hidden_dim,
        config.num_layers,
        config.num_heads,
        max_length=config.sequence_length,
        dropout_rate=config.dropout_rate,
        num_text_layers=config.num_layers if coca else 0,
    )
    if not coca:
        return kmmft.models.FusionGenerator(
            {"image": image_encoder},
            decoder,
            tokenizer,
            max_length=config.sequence_length,
            search=search,
        )
    return kmmft.models.CoCa(
        image_encoder,
        decoder,
        tokenizer,
        max_length=config.sequence_length,
        projection_dim=config.projection_dim,
        num_queries=config.num_queries,
        contrastive_weight=config.contrastive_weight,
        caption_weight=config.caption_weight,
        search=search,
    )
