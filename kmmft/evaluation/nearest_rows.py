"""The rows of a matrix that are nearest to vectors: exactly, or by faiss."""

import numpy as np
import tensorflow as tf

CHUNK_QUESTIONS = 1024
TILE_ROWS = 8192


class ExactRows:
    """Compares with every row, a tile of them at a time.

    Args:
        vectors: float32 array `(number, dim)`, rows of length 1; may be on disk.
    """

    def __init__(self, vectors: np.ndarray):
        self.vectors = vectors

    def nearest(self, questions: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds rows, highest cosine first, the lower row of equal ones first.

        Args:
            questions: float32 array `(questions, dim)`, rows of length 1.
            k: How many to find, no more than there are.

        Returns:
            int64 rows and float32 cosines, both `(questions, k)`.
        """
        parts = [
            self._nearest(questions[i : i + CHUNK_QUESTIONS], k)
            for i in range(0, len(questions), CHUNK_QUESTIONS)
        ]
        rows, scores = zip(*parts, strict=True)
        return np.concatenate(rows), np.concatenate(scores)

    def _nearest(self, questions: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        best = tf.zeros((len(questions), 0))
        rows = tf.zeros((len(questions), 0), tf.int64)
        for start in range(0, len(self.vectors), TILE_ROWS):
            # NumPy multiplies rows where they lie, on disk too; TensorFlow copies them.
            tile = self.vectors[start : start + TILE_ROWS]
            scores = questions @ tile.T
            found, place = tf.math.top_k(scores, min(k, len(tile)))
            # What was found before stands first: `top_k` prefers it among equals.
            best = tf.concat([best, found], axis=1)
            rows = tf.concat([rows, start + tf.cast(place, tf.int64)], axis=1)
            best, place = tf.math.top_k(best, min(k, best.shape[1]))
            rows = tf.gather(rows, place, batch_dims=1)
        return rows.numpy(), best.numpy()


class FaissRows:
    """Asks a faiss index, approximate and fast for millions of rows.

    Args:
        vectors: float32 array `(number, dim)`, rows of length 1.
        factory: Description of the index, such as "HNSW32" or "IVF1024,Flat".

    Raises:
        ImportError: If faiss is not installed.
    """

    def __init__(self, vectors: np.ndarray, factory: str):
        try:
            import faiss
        except ImportError as error:
            raise ImportError(
                f"faiss={factory!r} needs the package faiss-cpu: "
                "pip install kmmft[search]"
            ) from error
        vectors = np.ascontiguousarray(vectors)
        self.index = faiss.index_factory(
            vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT
        )
        self.index.train(vectors)
        self.index.add(vectors)

    def nearest(self, questions: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds rows, highest cosine first; row -1 where it finds no more.

        Args:
            questions: float32 array `(questions, dim)`, rows of length 1.
            k: How many to find.

        Returns:
            int64 rows and float32 cosines, both `(questions, k)`.
        """
        scores, rows = self.index.search(np.ascontiguousarray(questions), k)
        return rows, scores
