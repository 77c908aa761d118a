"""Finds pictures that are nearly the same, so that a split does not tear them apart."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

HASH_SIDE = 16
# Of 256 bits. Pictures redrawn in other colours or lines lie below; others of the
# same layout, such as some flags, too: a group too large does no harm.
MAX_DISTANCE = 50

_ROWS_AT_ONCE = 1024


def perceptual_hash(grey: np.ndarray, hash_side: int = HASH_SIDE) -> np.ndarray:
    """The signs of a picture's low frequencies, around their median.

    Pictures that look alike have hashes that differ in few bits, whatever their size,
    brightness and compression.

    Args:
        grey: Grey pixels `(4 * hash_side, 4 * hash_side)`.
        hash_side: Frequencies kept in each direction.

    Returns:
        bool array `(hash_side ** 2,)`.

    Example:
        >>> perceptual_hash(np.eye(64)).shape
        (256,)

    References:
        - [Zauner, 2010](https://www.phash.org/docs/pubs/thesis_zauner.pdf), sec. 3.2
          (hash of the discrete cosine transform).
    """
    side = 4 * hash_side
    if grey.shape != (side, side):
        raise ValueError(
            f"A perceptual hash is made of {side} x {side} grey pixels. Received: "
            f"shape {grey.shape}; resize the picture."
        )
    frequency, place = np.arange(hash_side)[:, None], np.arange(side)[None, :]
    cosines = np.cos(np.pi * frequency * (2 * place + 1) / (2 * side))
    low = cosines @ grey.astype(np.float64) @ cosines.T
    # Symmetric pictures have zeros, whose sign must not be left to rounding.
    low = np.round(low, 3)
    return (low > np.median(low)).reshape(-1)


def group_near_duplicates(
    hashes: np.ndarray,
    keys: Iterable[Sequence[Hashable]] = (),
    max_distance: int = MAX_DISTANCE,
) -> list[int]:
    """Groups records whose pictures are nearly the same, or that share a key.

    The relation is made transitive: if a is near b and b near c, all three are one
    group.

    Args:
        hashes: bool array `(records, bits)` of `perceptual_hash`es.
        keys: For each kind of key one sequence with a value for each record, such as
            its title. Records with equal values are in one group.
        max_distance: Bits that may differ between near-duplicates.

    Returns:
        The group of each record: the smallest number of a record in it.

    Example:
        >>> hashes = np.array([[0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 1, 0]], bool)
        >>> group_near_duplicates(hashes, max_distance=1)
        [0, 1, 0, 1]
        >>> group_near_duplicates(hashes, [["a", "b", "c", "a"]], max_distance=1)
        [0, 0, 0, 0]
    """
    return join_groups(len(hashes), _near_pairs(hashes, max_distance), keys)


def join_groups(
    num_records: int,
    pairs: Iterable[tuple[int, int]],
    keys: Iterable[Sequence[Hashable]],
) -> list[int]:
    """Groups records that are a pair, or that share a key.

    Args:
        num_records: How many records there are.
        pairs: Numbers of two records that belong together.
        keys: As in `group_near_duplicates`.

    Returns:
        The group of each record: the smallest number of a record in it.

    Example:
        >>> join_groups(4, [(0, 3)], [["a", "b", "b", "c"]])
        [0, 1, 1, 0]
    """
    parents = list(range(num_records))

    def root(record: int) -> int:
        while parents[record] != record:
            parents[record] = record = parents[parents[record]]
        return record

    def join(a: int, b: int) -> None:
        low, high = sorted((root(a), root(b)))
        parents[high] = low

    for a, b in pairs:
        join(a, b)
    for values in keys:
        first: dict[Hashable, int] = {}
        for record, value in enumerate(values):
            join(first.setdefault(value, record), record)
    return [root(record) for record in range(num_records)]


def _near_pairs(hashes: np.ndarray, max_distance: int) -> Iterable[tuple[int, int]]:
    # The product of signs is the number of equal bits less that of unequal ones.
    signs = np.where(hashes, 1, -1).astype(np.float32)
    bits = signs.shape[1] if signs.ndim == 2 else 0
    for start in range(0, len(signs), _ROWS_AT_ONCE):
        distances = (bits - signs[start : start + _ROWS_AT_ONCE] @ signs.T) / 2
        for row, column in np.argwhere(distances <= max_distance).tolist():
            if start + row < column:
                yield start + row, column
