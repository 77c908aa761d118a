"""What frozen encoders give without training: a linear map from image to text."""

import dataclasses
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from kmmft.data import RecordSource
from kmmft.evaluation.record_vectors import encode_records
from kmmft.metrics import two_way_retrieval, unit_vectors
from kmmft.models.encoding import Encoding
from kmmft.models.raw_inputs import RawInputs

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclasses.dataclass(frozen=True)
class PairedVectors:
    """A split's images and texts as frozen encoders see them.

    Attributes:
        images: float array `(num_images, image_dim)`.
        texts: float array `(num_texts, text_dim)`.
        image_of_text: Row of each text's image, int `(num_texts,)`.
    """

    images: np.ndarray
    texts: np.ndarray
    image_of_text: np.ndarray

    @classmethod
    def encode(
        cls,
        encoders: Mapping[str, keras.Model],
        source: RecordSource,
        split: str,
        captions: str = "captions",
        max_bad_fraction: float = 1e-3,
    ) -> "PairedVectors":
        """Runs encoders over a split, in inference mode.

        Args:
            encoders: The encoders `image` and `text`; those of a model that is being
                trained give what they have learnt so far.
            source: Where the records are.
            split: Name of the split.
            captions: Feature of the texts.
            max_bad_fraction: Largest fraction of records that may be bad.

        Returns:
            `PairedVectors`.
        """
        encoded = encode_records(
            _Frozen(encoders),
            source,
            split,
            {"image": "image", "text": captions},
            keep=(),
            max_bad_fraction=max_bad_fraction,
        )
        return cls(
            encoded.vectors["image"],
            encoded.vectors["text"],
            encoded.record_of["text"],
        )


def ridge_baseline(
    train: PairedVectors,
    validation: PairedVectors,
    test: PairedVectors,
    penalties: Sequence[float] = PENALTIES,
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """Retrieval by ridge regression from image vectors to text vectors.

    The floor that contrastive fine-tuning of the same encoders must beat. Vectors are
    brought to length 1. The penalty is the one with the best mean recall on the
    validation split; the test split is looked at once.

    Args:
        train: Where the map is fitted.
        validation: Where the penalty is chosen.
        test: What is reported.
        penalties: Penalties to choose from; one alone is taken as it is.
        ks: As in `kmmft.metrics.two_way_retrieval`.

    Returns:
        dict: what `two_way_retrieval` gives on the test split, and `penalty`.

    Raises:
        ValueError: If a penalty is not positive, there is none, or shapes differ.

    Example:
        >>> random = np.random.default_rng(0)
        >>> texts = random.normal(size=(60, 4))
        >>> mixed = texts @ random.normal(size=(4, 6))
        >>> split = [
        ...     kmmft.evaluation.PairedVectors(mixed[i::3], texts[i::3], np.arange(20))
        ...     for i in range(3)
        ... ]
        >>> floor = kmmft.evaluation.ridge_baseline(*split)
        >>> floor["text_to_image/recall_at_5"] > 0.8
        True

    References:
        - [Hoerl & Kennard, 1970](https://doi.org/10.1080/00401706.1970.10488634),
          eq. 2.3.
    """
    maps = ridge_maps(
        unit_vectors("images", train.images)[train.image_of_text],
        unit_vectors("texts", train.texts),
        penalties,
    )

    def retrieval(ridge, split: PairedVectors) -> dict[str, float]:
        found = ridge(unit_vectors("images", split.images))
        return two_way_retrieval(found, split.texts, split.image_of_text, ks)

    if len(maps) > 1:
        maps.sort(key=lambda ridge: -retrieval(ridge, validation)["mean_recall"])
    return {**retrieval(maps[0], test), "penalty": maps[0].penalty}


@dataclasses.dataclass(frozen=True)
class RidgeMap:
    """An affine map fitted by ridge regression.

    Attributes:
        weights: float array `(dim, target_dim)`.
        offset: float array `(target_dim,)`.
        penalty: The penalty that it was fitted with.
    """

    weights: np.ndarray
    offset: np.ndarray
    penalty: float

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Maps float `(count, dim)` to `(count, target_dim)`."""
        return vectors @ self.weights + self.offset


def ridge_maps(
    inputs: np.ndarray, targets: np.ndarray, penalties: Sequence[float]
) -> list[RidgeMap]:
    """Fits one map for each penalty: least squares plus `penalty * |weights|**2`.

    The means of inputs and targets are taken off first, so that the offset has no
    penalty.

    Args:
        inputs: float array `(count, dim)`.
        targets: float array `(count, target_dim)`.
        penalties: Positive numbers.

    Returns:
        One `RidgeMap` for each penalty.

    Raises:
        ValueError: If a penalty is not positive, there is none, or the rows of inputs
            and targets are not as many.

    Example:
        >>> (line,) = kmmft.evaluation.ridge_maps(
        ...     np.array([[0.0], [1.0]]), np.array([[1.0], [3.0]]), [1e-9])
        >>> line(np.array([[2.0]])).round(3)
        array([[5.]])
    """
    if not penalties or min(penalties) <= 0:
        raise ValueError(
            "`penalties` must be positive numbers, at least one. "
            f"Received: penalties={list(penalties)}."
        )
    if len(inputs) != len(targets) or not len(inputs):
        raise ValueError(
            "Inputs and targets must have the same number of rows, at least one. "
            f"Received: {len(inputs)} and {len(targets)}."
        )
    x, y = np.asarray(inputs, np.float64), np.asarray(targets, np.float64)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    # One decomposition serves all penalties.
    values, basis = np.linalg.eigh(x.T @ x)
    projected = basis.T @ (x.T @ y)
    maps = []
    for penalty in penalties:
        shrunk = np.maximum(values, 0.0)[:, None] + penalty
        weights = basis @ (projected / shrunk)
        maps.append(RidgeMap(weights, y_mean - x_mean @ weights, float(penalty)))
    return maps


class _Frozen(RawInputs, Encoding):
    """Encoders with what `encode_records` asks of a model."""

    missing_modalities = False

    def __init__(self, encoders: Mapping[str, keras.Model]):
        self.encoders = dict(encoders)
        self.towers = {
            modality: keras.Model(encoder.input, encoder.output["pooled"])
            for modality, encoder in self.encoders.items()
        }
