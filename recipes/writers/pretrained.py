"""A PaliGemma, Gemma 3 or BLIP-2 that a recipe fine-tunes whole or at low rank."""

import kmmft

# What asks a BLIP-2's queries, which its authors always train.
_QUERIES = (
    kmmft.finetuning.Rule("*/blip2_qformer/*"),
    kmmft.finetuning.Rule("*/language_projection/*"),
)


def pretrained_writer(
    config: kmmft.training.RecipeConfig, max_length: int, **kwargs
) -> kmmft.models.FusionGenerator:
    """Makes the model of `--pretrained_writer`, `--prompt` and `--lora_rank`.

    Args:
        config: The recipe's settings, with these flags.
        max_length: Longest text that is written, in tokens.
        **kwargs: Further arguments of `FusionGenerator`.
    """
    model = kmmft.models.FusionGenerator.from_preset(
        config.pretrained_writer,
        config.sequence_length,
        max_length,
        prompt=config.prompt or None,
        image_size=config.image_size,
        **kwargs,
    )
    reader = model.encoders["image"].backbone
    asks_queries = isinstance(reader, kmmft.encoders.QFormerEncoder)
    seeing = reader.vision_encoder if asks_queries else model.encoders["image"]
    seeing.trainable = config.train_image_encoder
    if "question" in model.encoders:
        # Its words' vectors, which are the decoder's, too.
        model.encoders["question"].trainable = config.train_text_encoder
    if config.lora_rank:
        low_rank, frozen = kmmft.finetuning.presets.lora_only(config.lora_rank).rules
        whole = _QUERIES if asks_queries else ()
        kmmft.finetuning.Plan([low_rank, *whole, frozen]).apply(model)
    return model
