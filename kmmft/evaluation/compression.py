"""Vectors in few bits, for a search that keeps little in memory."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from kmmft.evaluation.nearest_rows import TILE_ROWS, ExactRows
from kmmft.metrics import unit_vectors

KINDS = ("float32", "int8", "binary")


@dataclasses.dataclass(frozen=True)
class Compression:
    """How an index keeps the vectors that it compares with.

    The best `rescore` times k by the compressed vectors are compared again, by the
    whole float32 vectors; those of an index that was loaded lie on disk, and only the
    rows in question are read.

    Args:
        kind: `"float32"`, `"int8"` (a scale for each vector: a quarter of the bytes) or
            `"binary"` (the signs: one thirty-second; questions stay whole).
        dim: Only so many of the first numbers are kept, for models trained with a
            Matryoshka loss; default: all.
        rescore: See above; 0 to trust the compressed vectors.

    Raises:
        ValueError: If the kind is unknown, or a number is too small.

    References:
        - [Yamada et al., 2021](https://arxiv.org/abs/2106.00882) (binary candidates,
          rescored).
        - [Kusupati et al., 2022](https://arxiv.org/abs/2205.13147) (truncation).

    Example:
        >>> index = kmmft.evaluation.SearchIndex(
        ...     np.array([[3.0, 4.0], [-4.0, 3.0], [4.0, -3.0]]),
        ...     compression=kmmft.evaluation.Compression("binary"),
        ... )
        >>> index.search_rows(np.array([[1.0, 0.5]]), k=2)[0].tolist()
        [[0, 2]]
    """

    kind: str = "float32"
    dim: int | None = None
    rescore: int = 4

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(
                f"`kind` must be one of {', '.join(KINDS)}. Received: {self.kind!r}."
            )
        if self.rescore < 0 or (self.dim is not None and self.dim < 1):
            raise ValueError(
                "`rescore` must be 0 or more, and `dim` 1 or more. "
                f"Received: rescore={self.rescore}, dim={self.dim}."
            )


class CompressedRows:
    """Compares with compressed vectors, and the best again with whole ones.

    Args:
        vectors: float32 array `(number, dim)`, rows of length 1; may be on disk.
        compression: How.

    Raises:
        ValueError: If more numbers are to be kept than there are.
    """

    def __init__(self, vectors: np.ndarray, compression: Compression):
        dim = compression.dim
        if dim is not None and dim > vectors.shape[1]:
            raise ValueError(
                f"`dim` must be at most the width, {vectors.shape[1]}. "
                f"Received: dim={dim}."
            )
        self.vectors = vectors
        self.compression = compression
        short = vectors
        if dim is not None:
            short = unit_vectors("vectors", vectors[:, :dim])
        kinds = {"int8": _Int8, "binary": _Signs}
        codes = kinds[compression.kind](short) if compression.kind in kinds else short
        self.codes = codes
        self._rows = ExactRows(codes)

    def nearest(self, questions: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds rows, highest score first.

        Args:
            questions: float32 array `(questions, dim)`, rows of length 1.
            k: How many to find, no more than there are.

        Returns:
            int64 rows and float32 scores, both `(questions, k)`: cosines, if rescored.
        """
        short = questions
        if self.compression.dim is not None:
            short = unit_vectors("vectors", questions[:, : self.compression.dim])
        count = min(max(1, self.compression.rescore) * k, len(self.vectors))
        rows, scores = self._rows.nearest(short, count)
        if not self.compression.rescore:
            return rows, scores
        for number, question in enumerate(questions):
            # In the order of the rows: of equals the lower comes first.
            candidates = np.sort(rows[number])
            cosines = self.vectors[candidates] @ question
            order = np.argsort(-cosines, kind="stable")
            rows[number], scores[number] = candidates[order], cosines[order]
        return rows[:, :k], scores[:, :k]

    @property
    def nbytes(self) -> int:
        """Bytes of the compressed vectors."""
        return self.codes.nbytes


def _tiles(vectors: np.ndarray) -> list[slice]:
    """Vectors may be on disk and many: no copy of all of them is made."""
    return [slice(i, i + TILE_ROWS) for i in range(0, len(vectors), TILE_ROWS)]


class _Int8:
    """Steps of 1/127 of each row's largest number; slices are float32."""

    def __init__(self, vectors: np.ndarray):
        self.scale = np.empty((len(vectors), 1), np.float32)
        self.values = np.empty(vectors.shape, np.int8)
        for rows in _tiles(vectors):
            largest = np.abs(vectors[rows]).max(axis=1, keepdims=True)
            self.scale[rows] = np.maximum(largest / 127, np.finfo(np.float32).tiny)
            self.values[rows] = np.rint(vectors[rows] / self.scale[rows])
        self.nbytes = self.values.nbytes + self.scale.nbytes

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.values[rows] * self.scale[rows]


class _Signs:
    """One bit a number; slices are -1 and 1, divided to be of length 1."""

    def __init__(self, vectors: np.ndarray):
        self.dim = vectors.shape[1]
        self.bits = np.concatenate(
            [np.packbits(vectors[rows] > 0, axis=1) for rows in _tiles(vectors)]
        )
        self.nbytes = self.bits.nbytes

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, rows: slice) -> np.ndarray:
        bits = np.unpackbits(self.bits[rows], axis=1, count=self.dim)
        return (bits.astype(np.float32) * 2 - 1) / np.float32(np.sqrt(self.dim))


def compression_recall(
    vectors: np.ndarray,
    questions: np.ndarray,
    compressions: Sequence[Compression],
    k: int = 10,
) -> list[float]:
    """How many of the nearest k by whole vectors are found by compressed ones.

    Args:
        vectors: float array `(number, dim)`.
        questions: float array `(questions, dim)`.
        compressions: What to try.
        k: How many are to be found, no more than there are vectors.

    Returns:
        Shares in [0, 1], one for each of `compressions`.

    Raises:
        ValueError: If `k` is not from 1 to the number of vectors, or vectors are not
            sound.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(500, 64))
        >>> kmmft.evaluation.compression_recall(
        ...     vectors, vectors[:20] + 0.1, [kmmft.evaluation.Compression("int8")]
        ... )
        [1.0]
    """
    vectors = unit_vectors("vectors", vectors)
    questions = unit_vectors("questions", questions)
    if not 1 <= k <= len(vectors):
        raise ValueError(
            f"`k` must be from 1 to the number of vectors, {len(vectors)}. "
            f"Received: k={k}."
        )
    exact, _ = ExactRows(vectors).nearest(questions, k)
    shares = []
    for compression in compressions:
        found, _ = CompressedRows(vectors, compression).nearest(questions, k)
        both = (found[:, :, None] == exact[:, None, :]).any(axis=2)
        shares.append(float(both.mean()))
    return shares
