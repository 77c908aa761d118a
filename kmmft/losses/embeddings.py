"""Vectors to compare, and who belongs with whom."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """One tower's vectors, and what each is paired with.

    Args:
        vectors: float32 tensor `(N, D)`, each of length 1.
        group: int64 tensor `(N,)`. Same group, same thing: images that share a
            caption, captions of one image, examples of one class. Never negatives
            of each other.
        index: int64 tensor `(N,)`, the pair's number in the global batch, the same
            in every tower; -1 for an explicit hard negative, which is a negative of
            every query, its owner and the owner's group too. Hard negatives are
            candidates only, never queries.
        teacher: `None`, or float tensor `(N, E)` of a teacher's vectors, for
            `kmmft.losses.Distillation`.

    Example:
        >>> images = kmmft.losses.Embeddings.from_vectors(np.ones((3, 4)))
        >>> images.vectors[0].numpy(), images[1:].index.numpy()
        (array([0.5, 0.5, 0.5, 0.5], dtype=float32), array([1, 2]))
    """

    vectors: tf.Tensor
    group: tf.Tensor
    index: tf.Tensor
    teacher: tf.Tensor | None = None

    @classmethod
    def from_vectors(
        cls,
        vectors: tf.Tensor,
        group: tf.Tensor | None = None,
        teacher: tf.Tensor | None = None,
    ) -> "Embeddings":
        """A whole batch on one device.

        Args:
            vectors: float tensor `(N, D)` of any length; zero vectors stay zero.
            group: int tensor `(N,)`. By default each pair is a group of its own.
            teacher: float tensor `(N, E)`.

        Returns:
            `Embeddings`, numbered from 0.
        """
        vectors = unit_length(vectors)
        index = tf.range(tf.shape(vectors, tf.int64)[0])
        group = index if group is None else tf.cast(group, tf.int64)
        return cls(vectors, group, index, teacher)

    @classmethod
    def join(cls, towers: Sequence["Embeddings"]) -> "Embeddings":
        """All towers' items in one list, as losses with `joint=True` take them.

        Each item gets a number of its own, the same whichever rows of a batch are
        joined, so that an item knows itself among all replicas' items.

        Args:
            towers: `Embeddings`, in the same order everywhere. Each pair needs its
                group: that is what still binds it.

        Returns:
            `Embeddings` of the first tower's rows, then the second's, and so on.
        """
        numbers = [
            tf.where(tower.index < 0, tower.index, tower.index * len(towers) + place)
            for place, tower in enumerate(towers)
        ]
        teachers = [tower.teacher for tower in towers if tower.teacher is not None]
        return cls(
            tf.concat([tower.vectors for tower in towers], axis=0),
            tf.concat([tower.group for tower in towers], axis=0),
            tf.concat(numbers, axis=0),
            tf.concat(teachers, axis=0) if teachers else None,
        )

    def __getitem__(self, rows) -> "Embeddings":
        teacher = None if self.teacher is None else self.teacher[rows]
        return Embeddings(
            self.vectors[rows], self.group[rows], self.index[rows], teacher
        )


def unit_length(vectors: tf.Tensor) -> tf.Tensor:
    """Vectors in float32, divided by their lengths; zero vectors stay zero."""
    vectors = tf.cast(vectors, tf.float32)
    squares = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    # The gradient at a zero vector stays finite.
    return vectors * tf.math.rsqrt(tf.maximum(squares, 1e-12))
