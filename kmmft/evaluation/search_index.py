"""Finding the vectors, and what they stand for, that are nearest to a question."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kmmft.evaluation.compression import CompressedRows, Compression
from kmmft.evaluation.index_files import read_index, write_index
from kmmft.evaluation.nearest_rows import ExactRows, FaissRows
from kmmft.metrics import unit_vectors


@dataclasses.dataclass(frozen=True)
class Hit:
    """Something that was found.

    Attributes:
        id: Its id.
        score: Cosine to the question.
        metadata: What the index keeps beside it.
    """

    id: str
    score: float
    metadata: Mapping[str, Any]


class SearchIndex:
    """Vectors with ids, to be searched by cosine.

    The search is exact unless `faiss` says otherwise: questions and candidates are
    compared a tile at a time, so that memory does not grow with their product. Of
    equal scores, the one that was put in first comes first.

    Args:
        vectors: float array `(number, dim)`, of any lengths.
        ids: One for each vector; default: "0", "1", ...
        metadata: A dict that JSON can hold for each vector, such as `{"caption": ...}`.
        faiss: A faiss factory string, such as "HNSW32", for an approximate search that
            is faster with millions of vectors. Needs `pip install kmmft[search]`.
        compression: For an approximate search that keeps less in memory, a
            `kmmft.evaluation.Compression`. Not together with `faiss`.

    Raises:
        ValueError: If there is no vector, one is not finite, an id comes twice,
            the lengths differ, or `faiss` and `compression` are both given.

    Example:
        >>> index = kmmft.evaluation.SearchIndex(
        ...     np.array([[1.0, 0.0], [0.0, 2.0]]),
        ...     ids=["right", "up"],
        ...     metadata=[{"caption": "to the right"}, {"caption": "upwards"}],
        ... )
        >>> [hit.id for hit in index.search(np.array([[0.1, 0.9]]), k=2)[0]]
        ['up', 'right']
    """

    def __init__(
        self,
        vectors: np.ndarray,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        faiss: str | None = None,
        compression: Compression | None = None,
    ):
        vectors = unit_vectors("vectors", vectors)
        ids = [str(row) for row in range(len(vectors))] if ids is None else list(ids)
        self._set(vectors, ids, metadata, faiss, compression)

    def _set(self, vectors, ids, metadata, faiss, compression) -> None:
        metadata = [{} for _ in ids] if metadata is None else list(metadata)
        _check_ids(vectors, ids, metadata)
        self.vectors = vectors
        self.ids = ids
        self.metadata = metadata
        self.faiss = faiss
        self.compression = compression
        self._rows = _searched_rows(vectors, faiss, compression)

    @classmethod
    def build(
        cls,
        model: keras.Model,
        modality: str,
        raw: Sequence,
        ids: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        batch_size: int = 64,
        faiss: str | None = None,
        compression: Compression | None = None,
    ) -> "SearchIndex":
        """Encodes raw images or texts and puts them in an index.

        Args:
            model: A model with towers, such as `kmmft.models.DualEncoder`.
            modality: The tower that `raw` goes to.
            raw: Encoded images, or texts.
            ids, metadata, faiss, compression: As for `SearchIndex`.
            batch_size: How many are encoded at a time.

        Returns:
            `SearchIndex`.

        Example::

            index = kmmft.evaluation.SearchIndex.build(model, "image", jpegs, ids=names)
            index.query(model, text="a red bird")
        """
        vectors = model.encode(modality, raw, batch_size)
        return cls(vectors, ids, metadata, faiss, compression)

    def __len__(self) -> int:
        return len(self.ids)

    def search_rows(
        self, vectors: np.ndarray, k: int = 10
    ) -> tuple[np.ndarray, np.ndarray]:
        """Finds the nearest k to each vector, as numbers of rows.

        Args:
            vectors: float array `(questions, dim)`, of any lengths.
            k: How many to find.

        Returns:
            int array of rows and float array of cosines, both `(questions, k)`,
            highest first. An approximate search may find fewer: row -1.

        Raises:
            ValueError: If the width is another one, a vector is not finite, or the
                index has fewer than k.
        """
        vectors = unit_vectors("vectors", vectors)
        if vectors.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"Questions must be as wide as the index, {self.vectors.shape[1]}. "
                f"Received: vectors of shape {vectors.shape}. Encode them with the "
                "model that the index was built with."
            )
        if not 1 <= k <= len(self):
            raise ValueError(
                f"`k` must be from 1 to the size of the index, {len(self)}. "
                f"Received: k={k}."
            )
        return self._rows.nearest(vectors, k)

    def search(self, vectors: np.ndarray, k: int = 10) -> list[list[Hit]]:
        """Finds the nearest k to each vector, as `search_rows` does.

        Args:
            vectors: float array `(questions, dim)`, of any lengths.
            k: How many to find.

        Returns:
            A list of `Hit` for each question, highest score first.
        """
        rows, scores = self.search_rows(vectors, k)
        return [
            [
                Hit(self.ids[row], float(score), self.metadata[row])
                for row, score in zip(*found, strict=True)
                if row >= 0
            ]
            for found in zip(rows, scores, strict=True)
        ]

    def query(
        self, model: keras.Model, *, k: int = 10, **question: str | bytes
    ) -> list[Hit]:
        """Asks in words, or with an image.

        Args:
            model: The model that the index was built with.
            k: How many to find; fewer if the index is smaller.
            **question: One modality and its raw value, as in `text="a red bird"`.

        Returns:
            A list of `Hit`, highest score first.

        Raises:
            ValueError: If there is not exactly one question.
        """
        if len(question) != 1:
            raise ValueError(
                "A query is of one modality, such as text='a red bird'. "
                f"Received: {sorted(question)}."
            )
        ((modality, raw),) = question.items()
        return self.search(model.encode(modality, [raw]), min(k, len(self)))[0]

    def add(
        self,
        vectors: np.ndarray,
        ids: Sequence[str],
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Puts more vectors in.

        Args:
            vectors: float array `(number, dim)`.
            ids: One for each vector, none that is in the index.
            metadata: A dict for each vector.

        Raises:
            ValueError: As for `SearchIndex`. The index is then as it was.
        """
        vectors = unit_vectors("vectors", vectors)
        if vectors.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"Vectors must be as wide as the index, {self.vectors.shape[1]}. "
                f"Received: vectors of shape {vectors.shape}."
            )
        metadata = [{} for _ in ids] if metadata is None else list(metadata)
        self._set(
            np.concatenate([self.vectors, vectors]),
            [*self.ids, *ids],
            [*self.metadata, *metadata],
            self.faiss,
            self.compression,
        )

    def save(self, directory: str | os.PathLike) -> None:
        """Writes the index; an older one in the directory is replaced in one step.

        The vectors are in a file named by their contents, and `index.json`, which is
        renamed into place last, names that file. A kill leaves the old or the new
        index.

        Args:
            directory: Where to; made if it is not there.
        """
        described = {
            "faiss": self.faiss,
            "compression": self.compression and dataclasses.asdict(self.compression),
            "ids": self.ids,
            "metadata": self.metadata,
        }
        write_index(pathlib.Path(directory), self.vectors, described)

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "SearchIndex":
        """Opens what `save` wrote. Vectors stay on disk until they are searched.

        Args:
            directory: Where it is.

        Returns:
            `SearchIndex`.

        Raises:
            ValueError: If there is no index, or it is not whole.
        """
        vectors, described = read_index(pathlib.Path(directory))
        how = described.get("compression")  # older indexes have none
        index = cls.__new__(cls)
        index._set(
            vectors,
            described["ids"],
            described["metadata"],
            described["faiss"],
            None if how is None else Compression(**how),
        )
        return index


def _searched_rows(
    vectors: np.ndarray, faiss: str | None, compression: Compression | None
):
    if faiss is not None and compression is not None:
        raise ValueError(
            "Either `faiss` or `compression` may be given. "
            f"Received: faiss={faiss!r}, compression={compression}."
        )
    if compression is not None:
        return CompressedRows(vectors, compression)
    return ExactRows(vectors) if faiss is None else FaissRows(vectors, faiss)


def _check_ids(
    vectors: np.ndarray, ids: Sequence[str], metadata: Sequence[Mapping]
) -> None:
    if not len(vectors) == len(ids) == len(metadata):
        raise ValueError(
            "There must be one id, and one dict of metadata, for each vector. "
            f"Received: {len(vectors)} vectors, {len(ids)} ids, {len(metadata)} dicts."
        )
    if len(set(ids)) < len(ids):
        seen = set()
        twice = next(i for i in ids if i in seen or seen.add(i))
        raise ValueError(
            f"Ids must be different from each other. Received: {twice!r} twice. Make "
            "them different, or leave one out."
        )
