"""How a CoCa writes about images, in Python and in graph."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from kmmft.models.graph_cache import GraphCache
from kmmft.models.served_rows import ServedFunction, ServedRows
from kmmft.models.text_generation import write_tokens
from kmmft.models.text_search import TextSearch


class CoCaCaptions(GraphCache):
    """Mixin for a model with an image encoder and a decoder: writes captions.

    The model has `image_context`, `decoder`, `search` and `_texts`, its `TokenTexts`.
    """

    # The text in a batch of records, and what texts are written about.
    target = "text"
    written_about = ("image",)

    def caption(
        self,
        images: Sequence,
        batch_size: int = 32,
        search: TextSearch | None = None,
        seed: int = 0,
    ) -> list[str]:
        """Writes texts about images.

        Args:
            images: Sequence of encoded images, or decoded ones of the encoder's size.
            batch_size: How many are run at a time.
            search: Default: the model's own.
            seed: For `kmmft.models.Sampling`.

        Returns:
            One text an image.

        Raises:
            ValueError: If there is no image.
        """
        if isinstance(images, str | bytes) or len(images) == 0:
            raise ValueError(
                "`images` must be a sequence of one or more images. Received: "
                f"{type(images).__name__} {images[:20]!r}. Put it into a list."
            )
        parts = [
            self.generate_batch(
                {"image": tf.convert_to_tensor(images[start : start + batch_size])},
                search,
                seed + start,
            )
            for start in range(0, len(images), batch_size)
        ]
        return [text.decode() for part in parts for text in part]

    def generate_batch(
        self,
        inputs: Mapping[str, tf.Tensor],
        search: TextSearch | None = None,
        seed: int = 0,
    ) -> np.ndarray:
        """Writes texts about a batch of images.

        Args:
            inputs: dict with `image`, encoded or decoded; what else is among them is
                not read.
            search: Default: the model's own.
            seed: For `kmmft.models.Sampling`.

        Returns:
            object array `(batch,)` of UTF-8 bytes.
        """
        search = search or self.search
        write = self._in_graph(
            repr(search), functools.partial(self._caption, search), autograph=False
        )
        return write(inputs["image"], tf.constant(seed)).numpy()

    def _caption(self, search, raw, seed):
        inputs = self.preprocess_modality("image", raw)
        context = self.image_context(self.select("image", inputs), training=False)
        seen = tf.ones(tf.shape(context)[:2], bool)
        tokens = write_tokens(self.decoder, self._texts, context, seen, search, seed)
        return self._texts.unpack(tokens)

    def served_caption(self, **options) -> ServedFunction:
        """From images to `text`, for an exported model.

        Args:
            **options: As for `ServedRows`.
        """
        specs = dict(self.raw_specs("image"))
        if self.search.draws:
            specs["seed"] = tf.TensorSpec([None], tf.int32, name="seed")

        def caption(image, seed=None):
            first = 0 if seed is None else seed[0]
            return {"text": self._caption(self.search, image, first)}

        def examples(raw):
            zeros = tf.zeros(tf.shape(raw["image"])[:1], tf.int32)
            return {key: raw["image"] if key == "image" else zeros for key in specs}

        return ServedRows(self, **options)(caption, specs, examples)
