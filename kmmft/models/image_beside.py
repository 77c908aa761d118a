"""Models of words that may read an image beside their text."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from kmmft.encoders import ImageEncoder, TextEncoder
from kmmft.layers import TokenCrossAttention
from kmmft.models.raw_files import decode_files
from kmmft.models.raw_inputs import RawInputs, batch_inputs, select_inputs


def read_words(
    encoders: Mapping[str, keras.Model],
    num_layers: int,
    num_heads: int,
    dropout_rate: float,
) -> tuple[dict, keras.KerasTensor, keras.KerasTensor]:
    """The symbolic part that such models share.

    With an image encoder, the words' tokens attend to the image's, in a
    `kmmft.layers.TokenCrossAttention` called `image_reader`.

    Args:
        encoders: `text` and perhaps `image`.
        num_layers: As for `TokenCrossAttention`.
        num_heads: Likewise.
        dropout_rate: Likewise.

    Returns:
        Inputs by name, tokens `(batch, length, dim)` and their mask `(batch, length)`.
    """
    inputs = batch_inputs(encoders)
    features = {
        modality: encoder(select_inputs(modality, encoder, inputs))
        for modality, encoder in encoders.items()
    }
    tokens, mask = features["text"]["tokens"], features["text"]["mask"]
    if "image" in features:
        reader = TokenCrossAttention(
            num_layers, num_heads, dropout_rate, name="image_reader"
        )
        image = features["image"]
        tokens = reader(
            tokens,
            image["tokens"],
            tokens_mask=mask,
            context_mask=image.get("mask"),
        )
    return inputs, tokens, mask


def text_and_image(
    encoder: TextEncoder, image_encoder: ImageEncoder | None
) -> dict[str, keras.Model]:
    """The encoders by modality.

    Raises:
        ValueError: If the second is no image encoder, or both have one name.
    """
    if image_encoder is None:
        return {"text": encoder}
    if not isinstance(image_encoder, ImageEncoder):
        raise ValueError(
            "`image_encoder` must be a kmmft.encoders.ImageEncoder, or None. Received: "
            f"{type(image_encoder).__name__}."
        )
    if image_encoder.name == encoder.name:
        raise ValueError(
            "Encoders must have different names, since Keras tells layers by them. "
            f"Received: {encoder.name!r} twice. Give one of them another `name=`."
        )
    return {"text": encoder, "image": image_encoder}


class ImageBeside(RawInputs):
    """Mixin for a `keras.Model` whose `encoders` are those of `text_and_image`."""

    missing_modalities = False

    @property
    def encoder(self) -> keras.Model:
        """The text encoder."""
        return self.encoders["text"]

    @property
    def image_encoder(self) -> ImageEncoder | None:
        """The image encoder, if there is one."""
        return self.encoders.get("image")

    def decoded_image(self, record: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A record's `image`, decoded, or nothing for a model of texts alone.

        Raises:
            ValueError: If the model reads images, and the records have none.
        """
        if self.image_encoder is None:
            return {}
        if "image" not in record:
            raise ValueError(
                "The model has an image encoder: records must have an `image`. "
                f"Received: records with {sorted(record)}. Build them with images, or "
                "the model with image_encoder=None."
            )
        return {"image": decode_files(self.image_encoder, record["image"], False)}

    def image_inputs(self, image: tf.Tensor | None) -> dict[str, tf.Tensor]:
        """What the image encoder reads of encoded or decoded images.

        Raises:
            ValueError: If there are images and no encoder of them, or the reverse.
        """
        if image is None and self.image_encoder is not None:
            raise ValueError(
                "The model has an image encoder: each text needs its image. Received: "
                "no images. Give them, or build the model with image_encoder=None."
            )
        if image is not None and self.image_encoder is None:
            raise ValueError(
                "The model reads texts alone. Received: images too. Leave them out, or "
                "build the model with an `image_encoder`."
            )
        return {} if image is None else self.preprocess_modality("image", image)

    def image_specs(self) -> dict[str, tf.TensorSpec]:
        """Specs of the raw images, if the model reads any."""
        return {} if self.image_encoder is None else self.raw_specs("image")


def check_equally_many(images: Sequence | None, rows: int, what: str) -> None:
    """Raises unless there are no images, or as many as texts.

    Args:
        images: Encoded images, or None.
        rows: Number of the texts.
        what: What the error calls these.

    Raises:
        ValueError: If the numbers differ.
    """
    if images is not None and len(images) != rows:
        raise ValueError(
            f"There must be an image for each of the {what}. Received: {rows} {what} "
            f"and {len(images)} images."
        )
