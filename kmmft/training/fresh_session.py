"""One run after another in one process, each as if it were the first."""

import keras


def fresh_session(seed: int, dtype_policy: str = "float32") -> None:
    """Forgets what Keras remembers of earlier models, and sets seed and precision.

    `keras.utils.clear_session` alone also forgets the dtype policy, so that all runs
    but the first would be in float32.

    Args:
        seed: Of Python, NumPy and Keras.
        dtype_policy: Keras dtype policy of the models that follow.

    Example:
        >>> kmmft.training.fresh_session(seed=0, dtype_policy="mixed_bfloat16")
        >>> keras.layers.Dense(2).compute_dtype
        'bfloat16'
        >>> kmmft.training.fresh_session(seed=0)
    """
    keras.utils.clear_session()
    keras.config.set_dtype_policy(dtype_policy)
    keras.utils.set_random_seed(seed)
