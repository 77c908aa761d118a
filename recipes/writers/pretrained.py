"""A PaliGemma, Gemma 3 or BLIP-2 that a recipe fine-tunes whole or at low rank."""

import kmmft


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
    model.encoders["image"].trainable = config.train_image_encoder
    if "question" in model.encoders:
        # Its words' vectors, which are the decoder's, too.
        model.encoders["question"].trainable = config.train_text_encoder
    if config.lora_rank:
        kmmft.finetuning.presets.lora_only(config.lora_rank).apply(model)
    return model
