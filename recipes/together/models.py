"""A model for each task, all of them above the same two encoders."""

import keras

import kmmft

from .settings import WEIGHTINGS, Config


def build_models(
    config: Config, sources: dict[str, kmmft.data.RecordSource]
) -> dict[str, keras.Model]:
    """The models by task. They share `image_encoder` and `text_encoder`."""
    image = kmmft.encoders.ImageEncoder.from_preset(
        config.image_encoder, image_size=config.image_size
    )
    image.trainable = config.train_image_encoder
    text = kmmft.encoders.TextEncoder.from_preset(
        config.text_encoder, sequence_length=config.sequence_length
    )
    text.trainable = config.train_text_encoder
    make = {
        "match": lambda: kmmft.models.DualEncoder(
            {"image": image, "text": text}, projection_dim=config.hidden_dim
        ),
        "caption": lambda: _generator(config, image, text, sources["caption"]),
        "answer": lambda: kmmft.models.FusionClassifier(
            {"image": image, "question": text},
            fusion=kmmft.layers.BilinearFusion(config.hidden_dim),
            class_names=kmmft.data.Vocabulary.load_or_build(
                sources["answer"], "train", "answer"
            ).entries,
            dropout_rate=config.dropout_rate,
        ),
        "classify": lambda: kmmft.models.FusionClassifier(
            {"image": image},
            fusion=None,
            class_names=sources["classify"].features["label"].names,
            dropout_rate=config.dropout_rate,
        ),
    }
    return {task: make[task]() for task in sources}


def join(
    config: Config, models: dict[str, keras.Model], weighting: str
) -> kmmft.models.MultiTask:
    """One model of them all."""
    options = WEIGHTINGS[weighting]()
    return kmmft.models.MultiTask(models, **options, seed=config.seed)


def _generator(
    config: Config,
    image: kmmft.encoders.ImageEncoder,
    text: kmmft.encoders.TextEncoder,
    source: kmmft.data.RecordSource,
) -> kmmft.models.FusionGenerator:
    """Writes captions in the word pieces of the training captions."""
    captions = kmmft.data.list_captions(source, "train", on_error="skip")
    tokenizer = kmmft.encoders.shrink_tokenizer(text.tokenizer, captions)
    decoder = kmmft.models.CrossAttentionDecoder(
        tokenizer.vocabulary_size(),
        config.hidden_dim,
        config.num_layers,
        config.num_heads,
        max_length=config.sequence_length,
        dropout_rate=config.dropout_rate,
    )
    return kmmft.models.FusionGenerator(
        {"image": image}, decoder, tokenizer, max_length=config.sequence_length
    )
