"""Vectors replaced by the nearest of a learnt set."""

import keras
import tensorflow as tf
from keras import ops

from kmmft.layers.unit_length import UnitLength


@keras.saving.register_keras_serializable("kmmft")
class Codebook(keras.layers.Layer):
    """Replaces each vector by the nearest code of a learnt codebook.

    The codes are no weights that an optimizer moves: they are moving averages of the
    vectors that chose them, and codes that nobody chooses any more are put onto
    vectors of the batch. A model does both in its train step, with what `statistics`
    says about all replicas' vectors, through `update`.

    Args:
        num_codes: Number of codes.
        decay: Of the moving averages.
        min_share: A code is revived when the moving average of how many vectors chose
            it falls below this share of the average code's.
        unit_length: Whether codes have length one, for vectors of length one. Vectors
            that may shrink do so, all onto a few codes that are close together.

    Call arguments:
        vectors: float tensor `(..., dim)`.

    Returns:
        dict of `vectors`, float tensor `(..., dim)`, the codes, whose gradient passes
        to the given vectors as it is (straight-through), and `ids`, int32 `(...)`.

    Raises:
        ValueError: If there are fewer than two codes, or `decay` is not in (0, 1).

    Example:
        >>> codebook = kmmft.layers.Codebook(num_codes=16)
        >>> codebook(np.ones((2, 9, 4), "float32"))["ids"].shape
        TensorShape([2, 9])

    References:
        - [van den Oord et al., 2017](https://arxiv.org/abs/1711.00937), eq. 1 and 2;
          appendix A.1 for the moving averages.
        - [Yu et al., 2022](https://arxiv.org/abs/2110.04627), 3.2 (unit length).
        - [Dhariwal et al., 2020](https://arxiv.org/abs/2005.00341), 3.1 (revival).
    """

    def __init__(
        self,
        num_codes: int,
        decay: float = 0.95,
        min_share: float = 0.05,
        unit_length: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if num_codes < 2 or not 0 < decay < 1:
            raise ValueError(
                "A codebook needs two codes or more, and `decay` between 0 and 1. "
                f"Received: num_codes={num_codes}, decay={decay}."
            )
        self.num_codes = num_codes
        self.decay = decay
        self.min_share = min_share
        self.unit_length = unit_length
        self._to_unit = UnitLength(dtype="float32")

    def build(self, input_shape):
        dim = input_shape[-1]
        # Alike on all replicas, since `update` gets the sums over all of them.
        fixed = {"trainable": False, "aggregation": "only_first_replica"}
        # Moving averages would be stuck in half precision.
        fixed |= {"dtype": "float32", "autocast": False}
        self.codes = self.add_weight((self.num_codes, dim), name="codes", **fixed)
        self.counts = self.add_weight(
            (self.num_codes,), initializer="zeros", name="counts", **fixed
        )
        self.sums = self.add_weight(
            (self.num_codes, dim), initializer="zeros", name="sums", **fixed
        )

    def call(self, vectors):
        flat = ops.reshape(ops.cast(vectors, "float32"), (-1, vectors.shape[-1]))
        ids = ops.reshape(self._nearest(flat), ops.shape(vectors)[:-1])
        codes = ops.cast(self.lookup(ids), vectors.dtype)
        passed = vectors + ops.stop_gradient(codes - vectors)
        return {"vectors": passed, "ids": ids}

    def _nearest(self, flat):
        # The vector's own length is the same for all codes.
        products = ops.matmul(flat, ops.transpose(self.codes))
        distances = ops.sum(ops.square(self.codes), axis=-1) - 2 * products
        return ops.cast(ops.argmin(distances, axis=-1), "int32")

    def lookup(self, ids):
        """The codes of some ids.

        Args:
            ids: int tensor `(...)`.

        Returns:
            float32 tensor `(..., dim)`.
        """
        return ops.take(self.codes, ids, axis=0)

    def statistics(self, vectors, ids) -> tuple[tf.Tensor, tf.Tensor]:
        """How many vectors chose each code, and their sum.

        Args:
            vectors: float tensor `(..., dim)`.
            ids: int tensor `(...)`, what `call` gave for them.

        Returns:
            float32 tensors `(num_codes,)` and `(num_codes, dim)`, to be added up over
            the replicas.
        """
        flat = ops.reshape(ops.cast(vectors, "float32"), (-1, vectors.shape[-1]))
        ids = ops.reshape(ids, (-1,))
        ones = ops.ones_like(flat[:, 0])
        return (
            ops.segment_sum(ones, ids, self.num_codes),
            ops.segment_sum(flat, ids, self.num_codes),
        )

    def update(self, counts, sums, replacements) -> None:
        """Moves the codes after one step.

        Args:
            counts: float32 tensor `(num_codes,)`, the vectors of the step that chose
                each code.
            sums: float32 tensor `(num_codes, dim)`, their sums.
            replacements: float32 tensor `(num_codes, dim)`, vectors of the batch that
                take the place of codes that are hardly used.
        """
        # The first step has nothing to average with.
        decay = ops.where(ops.any(self.counts > 0), self.decay, 0.0)
        counts = decay * self.counts + (1 - decay) * counts
        sums = decay * self.sums + (1 - decay) * sums
        average = ops.mean(counts)
        dead = counts < self.min_share * average
        # As much used as the average, so that it has time to be chosen.
        counts = ops.where(dead, average, counts)
        sums = ops.where(dead[:, None], average * replacements, sums)
        self.counts.assign(counts)
        self.sums.assign(sums)
        codes = sums / counts[:, None]
        self.codes.assign(self._to_unit(codes) if self.unit_length else codes)

    def compute_output_spec(self, vectors):
        shape = tuple(vectors.shape)
        return {
            "vectors": keras.KerasTensor(shape, vectors.dtype),
            "ids": keras.KerasTensor(shape[:-1], "int32"),
        }

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_codes": self.num_codes,
            "decay": self.decay,
            "min_share": self.min_share,
            "unit_length": self.unit_length,
        }
