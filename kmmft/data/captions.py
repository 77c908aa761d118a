"""One caption out of several."""

import tensorflow as tf

# Tells this draw from those of an augmentation with the same seed.
_SALT = 0x63617074


def choose_caption(captions: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
    """Chooses one caption of a record: at random in training, the first otherwise.

    All captions are as likely. The choice is a function of `seed` alone, so that a
    resumed run sees the captions that an uninterrupted one does; `build_dataset` gives
    each record another seed in each epoch. It does not depend on what else is drawn
    from the same seed, such as a flip of the image.

    Args:
        captions: string tensor `(num_captions,)`.
        seed: int tensor `(2,)`, or None for the first caption.

    Returns:
        scalar string tensor.

    Raises:
        tf.errors.InvalidArgumentError: If there are no captions; `build_dataset`
            counts such a record as bad.

    Example:
        >>> captions = tf.constant(["a cat", "a cat: animal, pet"])
        >>> kmmft.data.choose_caption(captions).numpy()
        b'a cat'
        >>> kmmft.data.choose_caption(captions, seed=(0, 3)).numpy() in (
        ...     b"a cat", b"a cat: animal, pet")
        True
    """
    captions = tf.convert_to_tensor(captions, tf.string)
    count = tf.shape(captions)[0]
    some = tf.debugging.assert_positive(
        count, "A record must have a caption. Received: none. Add one, or leave it out."
    )
    # Eagerly there is nothing to wait for: the check has been made.
    with tf.control_dependencies([] if some is None else [some]):
        if seed is None:
            return captions[0]
        salted = tf.random.experimental.stateless_fold_in(
            tf.convert_to_tensor(seed), _SALT
        )
        place = tf.random.stateless_uniform(
            (), salted, minval=0, maxval=count, dtype=tf.int32
        )
        return captions[place]
