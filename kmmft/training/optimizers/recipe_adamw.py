"""The optimizer of the recipes."""

import keras

from kmmft.training.optimizers.adamw import AdamW


def adamw(
    learning_rate: float,
    total_steps: int,
    warmup_fraction: float = 0.05,
    weight_decay: float = 1e-4,
    global_clipnorm: float = 1.0,
) -> keras.optimizers.Optimizer:
    """AdamW with linear warm-up and cosine decay to zero.

    Args:
        learning_rate: Highest learning rate.
        total_steps: Number of optimizer steps of the whole training.
        warmup_fraction: Share of the steps in which the rate rises.
        weight_decay: Decoupled weight decay; biases, norms and temperatures
            have none.
        global_clipnorm: Largest norm of all gradients together.

    Returns:
        A Keras optimizer.

    Example:
        >>> optimizer = kmmft.training.adamw(1e-3, total_steps=100)
        >>> round(float(optimizer.learning_rate) * 6, 6)
        0.001

    References:
        - [Loshchilov & Hutter, 2017](https://arxiv.org/abs/1711.05101), alg. 2.
    """
    warmup_steps = max(int(warmup_fraction * total_steps), 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        # Not from zero, which would waste the first step.
        learning_rate / (warmup_steps + 1),
        decay_steps=max(total_steps - warmup_steps, 1),
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )
    optimizer = AdamW(
        schedule, weight_decay=weight_decay, global_clipnorm=global_clipnorm
    )
    optimizer.exclude_from_weight_decay(
        var_names=["bias", "gamma", "beta", "logit_scale"]
    )
    return optimizer
