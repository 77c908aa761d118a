"""Batches of texts of similar length, with no more padding than they need."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from kmmft.data.dataset import training_options

# Tells the draws of the order from others with the same seed.
_SALT = 0x6C656E67


def bucket_by_length(
    pools: Callable[..., tf.data.Dataset],
    batch_size: int,
    *,
    mask_key: str = "padding_mask",
    pool_batches: int = 8,
    multiple_of: int = 8,
    seed: int = 0,
    start_step: int = 0,
) -> tf.data.Dataset:
    """Sorts examples by length within pools, so that batches hold little padding.

    Examples come in pools of `pool_batches * batch_size`. Each is sorted by length
    (of equal ones the order stays), cut into batches, which come in a random order,
    and each batch is trimmed by `trim_padding`. So step `k` is a batch of pool
    `k // pool_batches`, a function of seed and step alone: `start_step=k` gives exactly
    the batches that an uninterrupted run sees from step `k` on, and at most one pool is
    read again for it. A larger pool saves more padding and mixes less. It is held in
    memory, decoded: for images, keep it small. Contrastive losses then have negatives
    of about the same length.

    An epoch has `pool_batches * steps_per_epoch(source, split, pool_batches *
    batch_size)` steps.

    Args:
        pools: `(batch_size, start_step) -> endless dataset of batches`, such as
            `functools.partial(kmmft.data.build_dataset, "data/pairs", split="train",
            training=True, batch_preprocess=model.prepare_batch)`. Its batches, a dict
            or a tuple that begins with one, are the pools.
        batch_size: Examples in a batch, over all replicas.
        mask_key: The bool mask `(batch, length)` by which lengths are counted.
        pool_batches: Batches in a pool.
        multiple_of: Lengths are rounded up to a multiple, so that a compiled step is
            compiled for fewer shapes.
        seed: Any int. For the order of a pool's batches.
        start_step: Batches to leave out at the start, for a resumed run.

    Returns:
        Endless `tf.data.Dataset` of batches as `pools` makes them.

    Raises:
        ValueError: If an argument is not valid, or the batches have no such mask.

    Example:
        >>> def texts(batch_size, start_step):
        ...     lengths = tf.data.Dataset.range(1, 9).repeat().batch(batch_size)
        ...     return lengths.map(lambda n: {
        ...         "token_ids": tf.sequence_mask(n, 8, tf.int32),
        ...         "padding_mask": tf.sequence_mask(n, 8)}).skip(start_step)
        >>> data = kmmft.data.bucket_by_length(texts, 2, pool_batches=4, multiple_of=1)
        >>> sorted(batch["token_ids"].shape[1] for batch in data.take(4))
        [2, 4, 6, 8]

    References:
        - [Khomenko et al., 2017](https://arxiv.org/abs/1708.05604) (batches of similar
          length).
    """
    _check(batch_size, pool_batches, multiple_of, start_step)
    first_pool, skipped = divmod(start_step, pool_batches)
    dataset = pools(batch_size=batch_size * pool_batches, start_step=first_pool)
    _mask(dataset.element_spec, mask_key)

    def batches(number: tf.Tensor, *parts: object) -> tf.data.Dataset:
        # A dataset of tuples hands over their parts one by one.
        pool = parts[0] if len(parts) == 1 else parts
        mask = _mask(pool, mask_key)
        lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
        # Of a pool that hosts or replicas share, each has its part.
        order = tf.argsort(lengths, stable=True)
        order = tf.reshape(order, (pool_batches, -1))
        key = tf.random.experimental.stateless_fold_in(
            tf.stack([tf.constant(seed, tf.int64), number]), _SALT
        )
        order = tf.random.experimental.stateless_shuffle(order, key)
        return tf.data.Dataset.from_tensor_slices(order).map(
            lambda rows: trim_padding(
                tf.nest.map_structure(lambda value: tf.gather(value, rows), pool),
                multiple_of,
            )
        )

    numbered = tf.data.Dataset.zip(
        tf.data.Dataset.range(first_pool, tf.int64.max), dataset
    )
    if isinstance(dataset.element_spec, tuple):
        numbered = numbered.map(lambda number, pool: (number, *pool))
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    bucketed = numbered.flat_map(batches).skip(skipped).apply(endless)
    return bucketed.prefetch(2).with_options(training_options())


def trim_padding(batch: object, multiple_of: int = 1) -> object:
    """Cuts texts off where the longest one of the batch ends.

    For `batch_preprocess`, after the tokenising; for evaluation and served batches too.
    Each `padding_mask`, also `<name>_padding_mask`, is cut, and the `token_ids` or
    `<name>_token_ids` with it. An encoder that takes one length only, such as SigLIP's,
    must not be given trimmed texts.

    Args:
        batch: A dict, or a tuple that begins with one. Masks are bool
            `(batch, length)`, True marks real tokens.
        multiple_of: Lengths are rounded up to a multiple of it.

    Returns:
        The batch, with shorter texts. At least `multiple_of` places are left.

    Raises:
        ValueError: If there is no mask.

    Example:
        >>> batch = {"token_ids": tf.constant([[5, 6, 0, 0], [7, 0, 0, 0]]),
        ...          "padding_mask": tf.constant([[True, True, False, False],
        ...                                       [True, False, False, False]])}
        >>> kmmft.data.trim_padding(batch)["token_ids"].numpy()
        array([[5, 6],
               [7, 0]], dtype=int32)
    """
    features = _features(batch)
    masks = [key for key in features if key.endswith("padding_mask")]
    if not masks:
        _mask(batch, "padding_mask")
    trimmed = dict(features)
    for key in masks:
        mask = features[key]
        used = tf.where(tf.reduce_any(mask, axis=0))
        longest = tf.cast(tf.reduce_max(tf.concat([used, [[0]]], 0)) + 1, tf.int32)
        length = -(-longest // multiple_of) * multiple_of
        trimmed[key] = mask[:, :length]
        tokens = key.removesuffix("padding_mask") + "token_ids"
        if tokens in features:
            trimmed[tokens] = features[tokens][:, :length]
    return (trimmed, *batch[1:]) if isinstance(batch, tuple) else trimmed


def _features(batch: object) -> Mapping:
    first = batch[0] if isinstance(batch, tuple) and batch else batch
    return first if isinstance(first, Mapping) else {}


def _mask(batch: object, key: str) -> object:
    features = _features(batch)
    if key not in features:
        raise ValueError(
            f"The batches must have the mask {key!r}, by which texts are measured. "
            f"Received: {sorted(features)}. Tokenise in `batch_preprocess`, or name "
            "the mask."
        )
    return features[key]


def _check(batch_size: int, pool_batches: int, multiple_of: int, start: int) -> None:
    if min(batch_size, pool_batches, multiple_of) < 1 or start < 0:
        raise ValueError(
            "`batch_size`, `pool_batches` and `multiple_of` must be at least 1, and "
            f"`start_step` not negative. Received: batch_size={batch_size}, "
            f"pool_batches={pool_batches}, multiple_of={multiple_of}, "
            f"start_step={start}. Mend the one that is not."
        )
