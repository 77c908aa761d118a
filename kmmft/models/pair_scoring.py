"""Scores of texts with videos where no vector of one side alone can tell."""

from collections.abc import Mapping, Sequence

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

    def compare(self, vectors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Scores encoded texts with the videos of their rows.

        Args:
            vectors: float tensors, `text` `(batch, dim)` and `video`
                `(batch, num_frames, dim)`.

        Returns:
            dict of `score`, float32 `(batch,)`.
        """
        texts = vectors["text"][:, tf.newaxis]
        scores, _ = self.compare_candidates(vectors["video"], texts)
        return {"score": scores[:, 0]}

    def compare_candidates(
        self, queries: tf.Tensor, candidates: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores each row's video with texts of its own.

        Args:
            queries: float tensor `(batch, num_frames, dim)`, of videos.
            candidates: float tensor `(batch, count, dim)`, of texts.

        Returns:
            float tensors `(batch, count)`: scores, and the logits that the model was
            trained with.
        """

        def score_row(row):
            video, texts = row
            return self._score(texts, video[tf.newaxis])[:, 0]

        spec = tf.TensorSpec([candidates.shape[1]], tf.float32)
        rows = (queries, candidates)
        scores = tf.map_fn(score_row, rows, fn_output_signature=spec)
        return scores, self.logit_scale_layer(scores)
