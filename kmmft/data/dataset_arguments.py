"""Checks of the arguments of `build_dataset`, one line for each rule."""

import os

from kmmft.data.epoch_steps import check_positive

ON_ERROR = ("raise", "skip")


def check_arguments(
    batch_size: int,
    seed: int,
    start_step: int,
    training: bool,
    shuffle_buffer: int,
) -> None:
    """Raises a ValueError unless these numbers are sound."""
    check_positive("batch_size", batch_size)
    check_positive("shuffle_buffer", shuffle_buffer)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(
            "`seed` must be an int, or runs could not be repeated. "
            f"Received: seed={seed!r}. Pass an int."
        )
    if start_step < 0 or (start_step and not training):
        raise ValueError(
            "`start_step` must not be negative, and must be 0 in evaluation. "
            f"Received: start_step={start_step}, training={training}. Pass the "
            "number of training steps that were done."
        )


def check_on_error(on_error: str, max_bad_fraction: float) -> None:
    """Raises a ValueError unless this says what happens to bad records."""
    if on_error not in ON_ERROR:
        raise ValueError(
            f"`on_error` must be one of {ON_ERROR}. Received: on_error={on_error!r}."
        )
    if not 0 <= max_bad_fraction <= 1:
        raise ValueError(
            "`max_bad_fraction` must be between 0 and 1. "
            f"Received: max_bad_fraction={max_bad_fraction}. Pass 0 to allow none."
        )


def check_choices(
    on_error: str,
    remainder: str | None,
    cache: str | os.PathLike | None,
    cache_decoded: bool,
    data_service: str | None,
) -> None:
    """Raises a ValueError unless these go together."""
    if cache_decoded and not cache:
        raise ValueError(
            "`cache_decoded` needs a place. Received: cache=None. Pass a directory as "
            "`cache`, or 'memory'."
        )
    others = {
        "on_error": on_error != "raise",
        "remainder": remainder is not None,
        "cache": cache is not None,
    }
    if data_service is not None and any(others.values()):
        wrong = [name for name, is_set in others.items() if is_set]
        raise ValueError(
            "The workers of a `data_service` read on their own: they share the records "
            "as they can, keep nothing, and report no bad record. Received: "
            f"{data_service!r} with {', '.join(wrong)}. Pass on_error='raise', and "
            "leave the others out."
        )
