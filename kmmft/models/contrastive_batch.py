"""What a contrastive batch must hold: nothing that was given is passed over."""

from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf


def check_inputs(names: Iterable[str], inputs: Mapping) -> None:
    """Checks that a model's inputs are all there.

    Args:
        names: The names of the model's inputs.
        inputs: dict of tensors.

    Raises:
        ValueError: If one is missing, or `inputs` is no dict.
    """
    given = list(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
    missing = [name for name in names if name not in given]
    if missing or isinstance(given, str):
        raise ValueError(
            f"The inputs must be a dict with {list(names)}. Received: {given}. "
            "Batches are made by the model's `prepare_batch`."
        )


def check_batch(
    names: Mapping[str, Sequence[str]],
    inputs: Mapping,
    group: tf.Tensor | None,
    sample_weight: tf.Tensor | None,
) -> None:
    """Checks a batch of training or evaluation as its graph is made.

    Args:
        names: The names of each tower's inputs, by modality.
        inputs: dict of tensors.
        group: int tensor `(batch,)`, or `None`.
        sample_weight: Must be `None`: there is no loss of an example alone.

    Raises:
        ValueError: If any of them is not so.
    """
    own = {name for tower in names.values() for name in tower}
    check_inputs([name for tower in names.values() for name in tower], inputs)
    _check_negatives(names, set(inputs) - own)
    _check_teachers(names, set(inputs) - own)
    if sample_weight is not None:
        raise ValueError(
            "A contrastive loss has no weights of examples. Received: sample weights "
            "or class weights. Leave them out, and repeat examples instead."
        )
    if group is not None:
        _check_group(group)


def _check_negatives(names: Mapping[str, Sequence[str]], others: set[str]) -> None:
    towers = [{f"negative_{name}" for name in tower} for tower in names.values()]
    used = {name for tower in towers if tower <= others for name in tower}
    # Raw ones, which `prepare_batch` may keep beside what it makes of them.
    used |= {f"negative_{modality}" for modality in names}
    strange = {x for x in others if x.startswith("negative_")} - used
    if strange:
        raise ValueError(
            "Hard negatives must be all inputs of a tower: "
            f"{' or '.join(str(sorted(tower)) for tower in towers)}. "
            f"Received: {sorted(strange)} alone, which would not be used."
        )


def _check_teachers(names: Mapping[str, Sequence[str]], others: set[str]) -> None:
    teachers = {f"teacher_{modality}" for modality in names}
    strange = {x for x in others if x.startswith("teacher_")} - teachers
    if strange:
        raise ValueError(
            f"A teacher's vectors must be named as one of {sorted(teachers)}. "
            f"Received: {sorted(strange)}, which would not be used."
        )


def _check_group(group: tf.Tensor) -> None:
    # `train_on_batch` passes NumPy arrays on where steps run eagerly.
    group = tf.convert_to_tensor(group)
    is_flat = group.shape.rank == 1 or (group.shape.rank == 2 and group.shape[1] == 1)
    if not (group.dtype.is_integer and is_flat):
        raise ValueError(
            "Groups must be integers `(batch,)`, since floats cannot tell large ones "
            f"apart. Received: {group.dtype.name} of shape {group.shape}. Hash strings "
            "by `tf.strings.to_hash_bucket_fast`."
        )
