"""Frames of videos in graph: in `tf.data` and in exported models."""

import tensorflow as tf


def sample_frames(frames: tf.Tensor, num_frames: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Chooses a fixed number of frames of each video, evenly over its length.

    The frames that are there are cut into `num_frames` stretches, and the middle
    frame of each is chosen. A video with fewer frames gives all of them; the places
    left over repeat its last frame, and the mask tells them apart.

    Args:
        frames: string tensor `(count,)` or `(batch, count)` of encoded images in
            order. An empty string is a frame that is not there, so videos of
            different lengths fit into one batch.
        num_frames: How many to choose.

    Returns:
        string tensor `(num_frames,)` or `(batch, num_frames)` of encoded images, and
        a bool tensor of its shape, True marks frames that are not repeated.

    Raises:
        ValueError: If `num_frames` is not positive, or `frames` has another rank.
        tf.errors.InvalidArgumentError: When a video has no frame.

    Example:
        >>> frames, mask = kmmft.data.sample_frames(tf.constant([*"abcdef"]), 3)
        >>> frames.numpy()
        array([b'b', b'd', b'f'], dtype=object)
        >>> frames, mask = kmmft.data.sample_frames(tf.constant(["a", "b", ""]), 3)
        >>> frames.numpy(), mask.numpy()
        (array([b'a', b'b', b'b'], dtype=object), array([ True,  True, False]))

    References:
        - [Wang et al., 2016](https://arxiv.org/abs/1608.00859), section 3.1 (one
          frame from each of equal stretches).
    """
    frames = tf.convert_to_tensor(frames, tf.string)
    if num_frames < 1 or frames.shape.rank not in (1, 2):
        raise ValueError(
            "Frames must be chosen from one video or a batch of them, one at least. "
            f"Received: frames of shape {frames.shape}, num_frames={num_frames}."
        )
    if frames.shape.rank == 1:
        chosen, mask = sample_frames(frames[tf.newaxis], num_frames)
        return chosen[0], mask[0]
    absent = tf.cast(tf.strings.length(frames) == 0, tf.int32)
    counts = tf.reduce_sum(1 - absent, axis=1, keepdims=True)
    some = tf.debugging.assert_positive(
        counts, "A video must have a frame. Received: none. Add one, or leave it out."
    )
    # Eagerly there is nothing to wait for: the check has been made.
    with tf.control_dependencies([] if some is None else [some]):
        chosen = tf.minimum(counts, num_frames)
        place = tf.minimum(tf.range(num_frames), chosen - 1)
    # Frames that are there come first, in their order.
    order = tf.argsort(absent, axis=1, stable=True)
    index = tf.gather(order, (2 * place + 1) * counts // (2 * chosen), batch_dims=1)
    return tf.gather(frames, index, batch_dims=1), tf.range(num_frames) < chosen
