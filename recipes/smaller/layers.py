"""Which of a transformer's layers a smaller one has."""

import keras


def spread(encoder: keras.Model, count: int, flag: str) -> list[int]:
    """Numbers of so many of an encoder's layers, evenly spaced from the first one on.

    Args:
        encoder: kmmft encoder above a transformer.
        count: How many are left.
        flag: What says so, for the error.

    Raises:
        ValueError: If the encoder has fewer layers, or none that are numbered.
    """
    layers = getattr(encoder.backbone, "num_layers", 0)
    if count > layers:
        raise ValueError(
            f"`--{flag}` must be at most those of {type(encoder.backbone).__name__}, "
            f"{layers}. Received: {count}."
        )
    return [number * layers // count for number in range(count)]
