"""Drawing with a `TextToImage`: one code after the other, with a cache."""

import math
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from kmmft.models.best_pictures import best_pictures
from kmmft.models.dual_encoder import DualEncoder
from kmmft.models.graph_cache import GraphCache
from kmmft.models.sampling import check_kept, filter_logits, sample
from kmmft.models.served_rows import ServedFunction, ServedRows


class ImageGeneration(GraphCache):
    """Mixin for `TextToImage`: draws pictures of texts.

    Attributes:
        serving_settings: Arguments of `generate` for the exported model, such as
            `{"guidance_scale": 3.0}`.
    """

    serving_settings: Mapping[str, Any] = types.MappingProxyType({})

    def generate(
        self,
        texts: Sequence[str],
        *,
        guidance_scale: float = 1.0,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        candidates: int = 1,
        ranker: DualEncoder | None = None,
        batch_size: int = 64,
    ) -> np.ndarray:
        """Draws one picture of each text.

        Args:
            texts: What to draw; the same text again gives another picture.
            guidance_scale: Logits are those of the empty text plus this many times
                the difference that the text makes: 1 is the model as it is, more
                keeps closer to the text. Needs training with empty texts.
            temperature: Of the drawing; 0 takes the likeliest code each time.
            top_k: As in `kmmft.models.sampling.filter_logits`.
            top_p: Likewise.
            seed: The same seed draws the same pictures.
            candidates: How many are drawn of each text for the ranker to choose from.
            ranker: A `DualEncoder`, by which the picture that fits its text best is
                kept (`kmmft.models.best_pictures`).
            batch_size: How many are drawn at a time.

        Returns:
            uint8 array `(texts, height, width, 3)`.

        Raises:
            ValueError: If there is no text, a setting is out of range, or there are
                several candidates without a ranker.

        References:
            - [Ho & Salimans, 2022](https://arxiv.org/abs/2207.12598), eq. 6.
        """
        if not len(texts):
            raise ValueError("There must be a text to draw. Received: none.")
        if not 0 <= temperature < math.inf or not math.isfinite(guidance_scale):
            raise ValueError(
                "`temperature` must not be negative, and it and `guidance_scale` be "
                f"finite. Received: temperature={temperature}, "
                f"guidance_scale={guidance_scale}."
            )
        check_kept(top_k, top_p)
        if candidates < 1 or (candidates > 1) != (ranker is not None):
            raise ValueError(
                "`candidates` above 1 and a `ranker` to choose from them belong "
                f"together. Received: candidates={candidates}, ranker={ranker}."
            )
        pictures = self._generate(
            np.repeat(texts, candidates),
            seed,
            batch_size,
            (float(guidance_scale), float(temperature), top_k, top_p),
        )
        if ranker is None:
            return pictures
        shape = (len(texts), candidates, *pictures.shape[1:])
        return best_pictures(ranker, texts, pictures.reshape(shape))

    def _generate(self, texts, seed, batch_size, setting) -> np.ndarray:
        draw = self._in_graph(
            setting, lambda texts, seeds: self.draw_texts(texts, seeds, *setting)
        )
        seeds = np.random.SeedSequence(seed).generate_state(len(texts)).astype("int32")
        parts = []
        for start in range(0, len(texts), batch_size):
            part = slice(start, start + batch_size)
            drawn = draw(tf.constant(list(texts[part])), seeds[part])
            parts.append(drawn.numpy())
        return np.concatenate(parts)

    def draw_texts(
        self,
        texts: tf.Tensor,
        seeds: tf.Tensor,
        guidance_scale: float = 1.0,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> tf.Tensor:
        """As `generate`, in a graph: what an exported model runs.

        Args:
            texts: string tensor `(batch,)`.
            seeds: int32 tensor `(batch,)`; a picture depends on its own one alone.
            guidance_scale: As in `generate`, and so are the others.

        Returns:
            uint8 tensor `(batch, height, width, 3)`.
        """
        guided = guidance_scale != 1.0
        if guided:
            # The second half of the batch is without condition.
            texts = tf.concat([texts, tf.fill(tf.shape(texts), "")], axis=0)
        sequence, mask = self._prompt(texts)
        rows = tf.shape(sequence)[0]
        places = self.text_length + self.code_count
        head = (self.num_heads, self.hidden_dim // self.num_heads)
        caches = [
            tf.zeros((rows, 2, places, *head), sequence.dtype) for _ in self.blocks
        ]
        hidden, caches = self._through_blocks(sequence, mask, caches, 0)
        drawn = rows // 2 if guided else rows
        codes = tf.TensorArray(tf.int32, self.code_count, element_shape=(None,))

        def choose(hidden, number):
            logits = self.code_logits(self.last_norm(hidden[:, -1]))
            if guided:
                conditioned, free = logits[:drawn], logits[drawn:]
                logits = free + guidance_scale * (conditioned - free)
            logits = filter_logits(logits / (temperature or 1.0), top_k, top_p)
            noise = tf.stack([seeds, tf.fill(tf.shape(seeds), number)], axis=1)
            return sample(logits, noise, temperature=float(temperature > 0))

        def step(number, hidden, caches, codes):
            chosen = choose(hidden, number)
            again = tf.concat([chosen, chosen], axis=0) if guided else chosen
            place = self.text_length + 1 + number
            x = self.code_embedding(again[:, None])
            x += tf.cast(self._position(place), x.dtype)
            hidden, caches = self._through_blocks(x, mask, caches, place)
            return number + 1, hidden, caches, codes.write(number, chosen)

        last = self.code_count - 1
        _, hidden, caches, codes = tf.while_loop(
            lambda number, *_: number < last,
            step,
            (0, hidden[:, -1:], caches, codes),
            parallel_iterations=1,
        )
        codes = codes.write(last, choose(hidden, last))
        ids = tf.transpose(codes.stack())
        images = self.image_tokenizer.draw(tf.reshape(ids, (drawn, self.code_count)))
        return tf.cast(tf.round(images), tf.uint8)

    def _prompt(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The text's part of the sequence, and what may be attended to in all of it."""
        inputs = self.select("text", self.preprocess({"text": texts}))
        text = self.text_encoder(inputs, training=False)
        begin = tf.fill((tf.shape(texts)[0], 1), self.image_tokenizer.num_codes)
        x = ops.concatenate(
            [self.text_projection(text["tokens"]), self.code_embedding(begin)], axis=1
        )
        x = x + self.positions(x)
        codes = tf.ones((tf.shape(texts)[0], self.code_count), bool)
        return x, tf.concat([tf.cast(text["mask"], bool), codes], axis=1)

    def _position(self, place: tf.Tensor) -> tf.Tensor:
        return self.positions.position_embeddings.value[place]

    def _through_blocks(self, x, mask, caches, place):
        """Runs new places of the sequence through the blocks.

        Args:
            x: `(batch, new, hidden_dim)`.
            mask: bool `(batch, all places)`.
            caches: Keys and values of the places before, a tensor a block.
            place: Number of the first new place.
        """
        allowed = tf.repeat(mask[:, None], tf.shape(x)[1], axis=1)
        filled = []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, cache = block(
                x,
                decoder_attention_mask=allowed,
                self_attention_cache=cache,
                self_attention_cache_update_index=place,
                training=False,
            )
            filled.append(cache)
        return x, filled

    def serving_functions(self, **options) -> dict[str, ServedFunction]:
        """What an exported model can be asked: `serving_default`, texts to PNG files.

        Its inputs are `text`, string `(batch,)`, and `seed`, int32 `(batch,)`.

        Args:
            **options: As for `kmmft.models.served_rows.ServedRows`.
        """
        specs = {
            "text": tf.TensorSpec([None], tf.string, name="text"),
            "seed": tf.TensorSpec([None], tf.int32, name="seed"),
        }
        return {"serving_default": ServedRows(self, **options)(self.serve, specs)}

    def serve(self, text: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Draws texts: what the exported model runs.

        Args:
            text: string tensor `(batch,)`.
            seed: int32 tensor `(batch,)`.

        Returns:
            dict of `image`, string tensor `(batch,)`, PNG files.
        """
        images = self.draw_texts(text, seed, **self.serving_settings)
        spec = tf.TensorSpec((), tf.string)
        return {"image": tf.map_fn(tf.io.encode_png, images, fn_output_signature=spec)}
