"""What contrastive losses share: pairs, groups, rows and chunks."""

import itertools
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from kmmft.losses.embeddings import Embeddings
from kmmft.losses.row_chunks import in_row_chunks

SAME_GROUP = ("positive", "ignore")


class ContrastiveLoss(keras.losses.Loss):
    """Base of the losses that compare each query with all candidates of a batch.

    A subclass writes `rows`: the losses of some queries, given their similarities
    to all candidates. Everything else follows: rows can be shared out over
    replicas or computed in chunks, and the sum over all rows stays the same. The
    loss of a batch is the mean over its pairs of the mean over the directions
    (image to text, text to image, ...). Queries and candidates are compared in
    float32 under every dtype policy.

    As a plain Keras loss it takes a whole batch on one device, at
    `initial_logit_scale`; `kmmft.models.DualEncoder` trains the scale and gathers
    the candidates of all replicas.

    Args:
        same_group: What candidates of the query's group are: `"positive"`, or
            `"ignore"`, neither positive nor negative.
        chunk_size: Queries at a time. The similarities of a batch of M pairs take
            M² numbers; with chunks only `chunk_size` * M, computed twice. Best if
            it divides the number of rows on a replica. `None`: all at once.

    Call arguments:
        y_true: int tensor `(batch,)` of groups; `np.arange(batch)` for none.
        y_pred: float tensor `(batch, towers, dim)`, or a dict or sequence of
            `(batch, dim)`, of any length above 0.

    Returns:
        float32 scalar; `(batch,)` with `reduction=None`.

    Raises:
        ValueError: If `same_group` or `chunk_size` is none of the above, or the
            towers' vectors differ in shape.

    Example:
        >>> class Attraction(kmmft.losses.ContrastiveLoss):
        ...     def rows(self, similarity, positive, valid, **kwargs):
        ...         return tf.reduce_sum(tf.where(positive, 1 - similarity, 0), 1)
        >>> pairs = np.array([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [1.0, 0.0]]])
        >>> round(float(Attraction()(np.arange(2), pairs)), 4)
        0.5
    """

    symmetric = False  # True: without hard negatives, both directions' totals are equal
    joint = False  # True: queries and candidates are all towers' items together
    needs_logit_bias = False
    initial_logit_scale = 1 / 0.07
    initial_logit_bias = 0.0

    def __init__(
        self,
        same_group: str = "positive",
        chunk_size: int | None = None,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
    ):
        super().__init__(name=name, reduction=reduction, dtype="float32")
        if same_group not in SAME_GROUP:
            raise ValueError(
                f"`same_group` must be one of {SAME_GROUP}. Received: {same_group!r}"
            )
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(
                f"`chunk_size` must be positive or None. Received: {chunk_size}"
            )
        self.same_group = same_group
        self.chunk_size = chunk_size

    def rows(
        self,
        similarity: tf.Tensor,
        positive: tf.Tensor,
        valid: tf.Tensor,
        *,
        logit_scale: tf.Tensor,
        logit_bias: tf.Tensor,
        step: tf.Tensor | None,
    ) -> tf.Tensor:
        """The losses of some queries. To be written by subclasses.

        Args:
            similarity: float32 tensor `(queries, candidates)` of cosines.
            positive: bool tensor `(queries, candidates)`, True for what belongs to
                the query.
            valid: bool tensor `(queries, candidates)`, False for candidates that
                are to be left out.
            logit_scale: float32 scalar.
            logit_bias: float32 scalar.
            step: int scalar, the training step, or `None`.

        Returns:
            float32 tensor `(queries,)`.
        """
        raise NotImplementedError

    def directed(
        self,
        queries: Embeddings,
        candidates: Embeddings,
        *,
        logit_scale: float | tf.Tensor = 1.0,
        logit_bias: float | tf.Tensor | None = None,
        step: int | tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The losses of some queries in one direction, such as image to text.

        Args:
            queries: `Embeddings`, any rows of a batch.
            candidates: `Embeddings`, all rows of the batch, hard negatives too.
            logit_scale: Factor on the cosines, the inverse temperature.
            logit_bias: Added to the scaled cosines.
            step: The training step, for weights that follow a schedule.

        Returns:
            float32 tensor `(queries,)`.
        """
        return in_row_chunks(
            lambda *block: self._block(*block, step=step),
            _in_float32(queries),
            _in_float32(candidates),
            tf.cast(logit_scale, tf.float32),
            tf.cast(0.0 if logit_bias is None else logit_bias, tf.float32),
            self.chunk_size,
        )

    def _block(self, queries, candidates, logit_scale, logit_bias, step):
        similarity = tf.matmul(queries.vectors, candidates.vectors, transpose_b=True)
        positive, valid = self._masks(queries, candidates)
        return self.rows(
            similarity,
            positive,
            valid,
            logit_scale=logit_scale,
            logit_bias=logit_bias,
            step=step,
        )

    def _masks(self, queries: Embeddings, candidates: Embeddings):
        """Which candidates belong to each query, and which count at all."""
        # Hard negatives have no index: nobody's own, and of nobody's group.
        paired = candidates.index >= 0
        own = (queries.index[:, None] == candidates.index) & paired
        same = (queries.group[:, None] == candidates.group) & paired
        if self.joint:
            return same & ~own, ~own
        if self.same_group == "positive":
            return own | same, tf.ones_like(own)
        return own, own | ~same

    def per_pair(
        self,
        towers: Sequence[tf.Tensor],
        groups: tf.Tensor | None = None,
        *,
        logit_scale: float | tf.Tensor | None = None,
        logit_bias: float | tf.Tensor | None = None,
        step: int | tf.Tensor | None = None,
        teachers: Sequence[tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """The loss of each pair of a whole batch on one device.

        Args:
            towers: Two or more float tensors `(batch, dim)`; row i of each belongs
                to pair i. They need not be of length 1.
            groups: int tensor `(batch,)`, or `None`.
            logit_scale: As in `directed`; by default the paper's initial value.
            logit_bias: As in `directed`; by default the paper's initial value.
            step: As in `directed`.
            teachers: For each tower a float tensor `(batch, any dim)`; see
                `kmmft.losses.Distillation`.

        Returns:
            float32 tensor `(batch,)`; its mean is the loss of the batch.
        """
        _check_towers(towers)
        teachers = teachers or [None] * len(towers)
        towers = [
            Embeddings.from_vectors(vectors, groups, teacher)
            for vectors, teacher in zip(towers, teachers, strict=True)
        ]
        if logit_scale is None:
            logit_scale = self.initial_logit_scale
        if logit_bias is None:
            logit_bias = self.initial_logit_bias
        options = {"logit_scale": logit_scale, "logit_bias": logit_bias, "step": step}
        if self.joint:
            items = Embeddings.join(towers)
            losses = self.directed(items, items, **options)
            return tf.reduce_mean(tf.reshape(losses, (len(towers), -1)), axis=0)
        directions = [
            self.directed(queries, candidates, **options)
            for queries, candidates in itertools.permutations(towers, 2)
        ]
        return tf.add_n(directions) / len(directions)

    def __call__(self, y_true, y_pred, sample_weight=None):
        # Keras casts `y_true` to float32, which cannot tell large numbers apart:
        # a group's place among the sorted groups can stand for it.
        groups = tf.reshape(tf.cast(y_true, tf.int64), (-1,))
        return super().__call__(
            tf.searchsorted(tf.sort(groups), groups), y_pred, sample_weight
        )

    def call(self, y_true, y_pred):
        if isinstance(y_pred, Mapping):
            y_pred = list(y_pred.values())
        elif not isinstance(y_pred, list | tuple):
            y_pred = tf.unstack(y_pred, axis=1)
        return self.per_pair(y_pred, y_true)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "same_group": self.same_group,
            "chunk_size": self.chunk_size,
        }


def _in_float32(embeddings: Embeddings) -> Embeddings:
    teacher = embeddings.teacher
    return Embeddings(
        tf.cast(embeddings.vectors, tf.float32),
        tf.cast(embeddings.group, tf.int64),
        tf.cast(embeddings.index, tf.int64),
        None if teacher is None else tf.cast(teacher, tf.float32),
    )


def _check_towers(towers: Sequence[tf.Tensor]) -> None:
    shapes = [tuple(vectors.shape) for vectors in towers]
    alike = all(
        len(shape) == 2 and tf.TensorShape(shape).is_compatible_with(shapes[0])
        for shape in shapes
    )
    if len(shapes) < 2 or not alike:
        raise ValueError(
            "A contrastive loss takes two or more towers' vectors, each "
            f"(batch, dim), all of one shape. Received: shapes {shapes}. Project "
            "them to one width, for example with `kmmft.layers.ProjectionHead`"
        )
