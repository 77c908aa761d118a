"""Tight similarity: a score of text and video from looking at both together."""

import keras
import tensorflow as tf
from keras import ops

from kmmft.layers.attention_block import AttentionBlock
from kmmft.layers.frame_transformer import default_heads


@keras.saving.register_keras_serializable("kmmft")
class TightSimilarity(keras.layers.Layer):
    """Scores each text with each video by a transformer over text and frames.

    The text's vector and the frames' vectors form one sequence, with embeddings for
    kind and place; a head reads the score at the text's place. There are no vectors
    of one side alone, so nothing can be indexed: scoring M texts and N videos runs
    the transformer M * N times. Scores are logits, not cosines: a loss takes them
    with `logit_scale=1`.

    Args:
        num_layers: Number of transformer blocks.
        num_heads: Attention heads of a block, as in `FrameTransformer`.
        chunk_size: Texts at a time, to score large collections in little memory.
            Training keeps what the backward pass needs of all chunks. `None`: all at
            once.

    Call arguments:
        text: float tensor `(texts, dim)`.
        frames: float tensor `(videos, num_frames, dim)`.
        mask: optional bool tensor `(videos, num_frames)`, True marks real frames.

    Returns:
        float32 tensor `(texts, videos)`.

    Raises:
        ValueError: If `num_layers` or `chunk_size` is not positive, or the widths of
            text and frames differ.

    Example:
        >>> layer = kmmft.layers.TightSimilarity(num_layers=1, num_heads=2)
        >>> layer(np.ones((3, 8)), np.ones((2, 4, 8))).shape
        TensorShape([3, 2])

    References:
        - [Luo et al., 2021](https://arxiv.org/abs/2104.08860), section 3.3 (tight
          type).
    """

    def __init__(
        self,
        num_layers: int = 4,
        num_heads: int | None = None,
        chunk_size: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if num_layers < 1 or (chunk_size is not None and chunk_size < 1):
            raise ValueError(
                "`num_layers` must be positive, `chunk_size` too or None. Received: "
                f"num_layers={num_layers}, chunk_size={chunk_size}."
            )
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.chunk_size = chunk_size
        self.supports_masking = True

    def build(self, text_shape, frames_shape):
        # === Layers ===
        dim, num_frames = text_shape[-1], frames_shape[1]
        if frames_shape[-1] != dim:
            raise ValueError(
                "Text and frames must be equally wide. Received: shapes "
                f"{tuple(text_shape)} and {tuple(frames_shape)}. Project them."
            )
        policy, normal = self.dtype_policy, keras.initializers.RandomNormal(stddev=0.02)
        self.places = self.add_weight(
            shape=(1 + num_frames, dim), initializer=normal, name="places"
        )
        self.kinds = self.add_weight(shape=(2, dim), initializer=normal, name="kinds")
        # Flat, with the name as key: Keras does not save layers in nested lists.
        self.blocks = {}
        for index in range(self.num_layers):
            block = AttentionBlock(
                self.num_heads or default_heads(dim),
                dtype=policy,
                name=f"block_{index}",
            )
            block.build((None, 1 + num_frames, dim))
            self.blocks[block.name] = block
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-6, dtype=policy, name="norm"
        )
        self.norm.build((None, dim))
        self.hidden = keras.layers.Dense(
            dim, activation="gelu", dtype=policy, name="hidden"
        )
        self.hidden.build((None, dim))
        self.score = keras.layers.Dense(1, dtype="float32", name="score")
        self.score.build((None, dim))

    def call(self, text, frames, mask=None):
        if mask is None:
            mask = ops.ones_like(frames[..., 0], "bool")
        mask = ops.cast(mask, "bool")
        # Attention of weight 0 to NaN would be NaN.
        frames = ops.where(mask[..., None], frames, 0)
        if self.chunk_size is None or isinstance(text, keras.KerasTensor):
            return self._scores(text, frames, mask)
        # Chunks of one size, so that each is computed by the same graph.
        number = tf.shape(text)[0]
        chunks = -(-number // self.chunk_size)
        padding = [[0, chunks * self.chunk_size - number], [0, 0]]
        padded = tf.reshape(
            tf.pad(text, padding), [-1, self.chunk_size, text.shape[-1]]
        )
        scores = tf.map_fn(
            lambda chunk: self._scores(chunk, frames, mask),
            padded,
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )
        return tf.reshape(scores, [-1, tf.shape(frames)[0]])[:number]

    def _scores(self, text, frames, mask):
        """All pairs at once: `texts * videos` sequences of a text and its frames."""
        texts, videos = ops.shape(text)[0], ops.shape(frames)[0]
        length, dim = 1 + frames.shape[1], frames.shape[2]
        places = ops.cast(self.places, text.dtype)
        kinds = ops.cast(self.kinds, text.dtype)
        text = text + places[0] + kinds[0]
        frames = frames + places[1:] + kinds[1]
        x = ops.concatenate(
            [
                ops.broadcast_to(text[:, None, None], (texts, videos, 1, dim)),
                ops.broadcast_to(frames[None], (texts, videos, length - 1, dim)),
            ],
            axis=2,
        )
        mask = ops.pad(mask, ((0, 0), (1, 0)), constant_values=True)
        mask = ops.broadcast_to(mask[None], (texts, videos, length))
        x = ops.reshape(x, (-1, length, dim))
        mask = ops.reshape(mask, (-1, length))
        for block in self.blocks.values():
            x = block(x, key_mask=mask)
        scores = self.score(self.hidden(self.norm(x[:, 0])))
        return ops.reshape(scores, (texts, videos))

    def compute_mask(self, inputs, previous_mask=None):
        return None

    def compute_output_shape(self, text_shape, frames_shape) -> tuple:
        return (text_shape[0], frames_shape[0])

    # === Config ===
    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "chunk_size": self.chunk_size,
        }
