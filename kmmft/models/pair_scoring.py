"""Scores of texts with videos where no vector of one side alone can tell."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kmmft.models.encoding import Encoding


class PairScoring(Encoding):
    """Mixin for a model with a `scorer` of texts' vectors and videos' frames."""

    def _score(self, texts: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        return self.scorer(texts, frames, mask=tf.reduce_any(frames != 0, axis=-1))

    def scores(
        self, texts: Sequence[str], videos: Sequence, batch_size: int = 64
    ) -> np.ndarray:
        """Scores raw texts with raw videos; each is encoded once.

        Args:
            texts: Sequence of texts.
            videos: Sequence of videos, as for `encode`.
            batch_size: How many are encoded at a time, and of how many the pairs are
                scored.

        Returns:
            float32 array `(len(texts), len(videos))`, of any size; higher is better.
        """
        return self.similarity(
            self.encode("text", texts, batch_size),
            self.encode("video", videos, batch_size),
            batch_size,
        )

    def similarity(
        self, vectors: np.ndarray, others: np.ndarray, batch_size: int = 64
    ) -> np.ndarray:
        """Scores of encoded texts and videos, a block of pairs at a time.

        Args:
            vectors: float array, from `encode`: `(n, dim)` of texts or
                `(n, num_frames, dim)` of videos.
            others: float array of the other kind, of m items.
            batch_size: Of how many texts and videos the pairs are scored at a time.

        Returns:
            float32 array `(n, m)`.

        Raises:
            ValueError: If not one of them is of texts and the other one of videos.
        """
        if np.ndim(vectors) == 3 and np.ndim(others) == 2:
            return self.similarity(others, vectors, batch_size).T
        if np.ndim(vectors) != 2 or np.ndim(others) != 3:
            raise ValueError(
                "Texts (n, dim) are scored with videos (m, num_frames, dim). Received: "
                f"shapes {np.shape(vectors)} and {np.shape(others)}."
            )
        score = self._in_graph("scores", self._score)
        blocks = [
            [
                score(
                    tf.convert_to_tensor(vectors[row : row + batch_size], tf.float32),
                    tf.convert_to_tensor(others[column : column + batch_size]),
                ).numpy()
                for column in range(0, len(others), batch_size)
            ]
            for row in range(0, len(vectors), batch_size)
        ]
        return np.block(blocks)

    def serve(self, **raw: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores all texts with all videos: the function that an exported model runs.

        Args:
            **raw: As for `preprocess`; texts and videos may differ in number.

        Returns:
            dict of `scores`, float32 `(texts, videos)`.
        """
        texts, frames = (self._encode(key, raw[key]) for key in ("text", "video"))
        return {"scores": self._score(texts, frames)}
