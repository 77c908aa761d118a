"""Batches mixed of several data sets, in shares that are kept exactly."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from kmmft.data.dataset import training_options
from kmmft.data.mixture_sources import (
    Source,
    check_sources,
    sampling_shares,
    shuffled_batches,
    source_sizes,
)

SAMPLING = ("size", "temperature")
# Places in a batch are counted in parts of this. Steps of the golden ratio spread the
# starts of the draws most evenly.
_ONE = 1 << 32
_GOLDEN = 0x9E3779B9
_STEPS_AT_ONCE = 1 << 20


@dataclasses.dataclass(frozen=True, eq=False)
class DatasetMixture:
    """Several data sets as one stream of training batches.

    Each batch holds of each source its share of the places, rounded up or down, in a
    random order; rounding evens out over the steps, so that even a share of less than
    one place in a batch is kept. Each source goes through its own epochs at its own
    pace. What is in a batch depends on `seed` and step only: `dataset(k)` gives exactly
    the batches that an uninterrupted run sees from step `k` on.

    Args:
        sources: By name, a function `(batch_size, start_step) -> endless dataset of
            batches`, such as `functools.partial(kmmft.data.build_dataset, "data/web",
            split="train", training=True, preprocess=...)`, which is asked for batches
            of one; or a finite `tf.data.Dataset` of single examples, which is shuffled
            anew in each epoch. All must give examples of the same form.
        batch_size: Examples in a batch, over all sources and replicas.
        sampling: `"size"`, sources in proportion to their sizes; `"temperature"`, to
            `size ** (1 / temperature)`, which favours small ones; or positive weights
            by name.
        temperature: From 1 (as `"size"`) to infinity (all alike).
        sizes: Numbers of examples by name, where a source cannot tell its own.
        batch_preprocess: `batch -> dict or (x, y[, w])`, such as tokenising. Here and
            not in the sources, for it is much faster on whole batches.
        seed: Any int. For the order of the batches and the shuffling of datasets; a
            function has its own.
        shuffle_buffer: Examples of a dataset that are held to draw from.

    Raises:
        ValueError: If there is no source, `sampling` is unknown or names other ones, a
            needed size is missing, or the sources' examples differ in form.

    Example:
        >>> examples = tf.data.Dataset.range
        >>> mixture = kmmft.data.DatasetMixture(
        ...     {"web": examples(60), "books": examples(100, 120)}, batch_size=8)
        >>> mixture.counts(stop_step=100)
        {'web': 600, 'books': 200}
        >>> sum(int(x) >= 100 for x in next(iter(mixture.dataset())))
        2

    References:
        - [Raffel et al., 2019](https://arxiv.org/abs/1910.10683), section 3.5.2
          (examples-proportional and temperature-scaled mixing).
    """

    sources: Mapping[str, Source]
    batch_size: int
    sampling: str | Mapping[str, float] = "size"
    temperature: float = 2.0
    sizes: Mapping[str, int] | None = None
    batch_preprocess: Callable | None = None
    seed: int = 0
    shuffle_buffer: int = 10_000

    def __post_init__(self):
        check_sources(self.sources, 0, self.seed)
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ValueError(
                "`batch_size` must be a positive int. "
                f"Received: batch_size={self.batch_size!r}. Pass at least 1."
            )
        wrong = {name: share for name, share in self.shares.items() if not share > 0}
        if wrong:
            raise ValueError(
                f"Each data set must have a positive share. Received: {wrong}. Leave "
                "out the ones that are not to be seen."
            )

    @property
    def shares(self) -> dict[str, float]:
        """The sources' parts of the stream; they add up to 1."""
        known = source_sizes(self.sources, self.sizes or {})
        shares = sampling_shares(
            self.sources, self.sampling, known, self.temperature, SAMPLING
        )
        total = sum(shares.values())
        return {name: share / total for name, share in shares.items()}

    def counts(self, stop_step: int, start_step: int = 0) -> dict[str, int]:
        """Counts the examples of each source in a range of steps, without reading.

        Args:
            stop_step: The step after the last one.
            start_step: The first step.

        Returns:
            Numbers of examples by source.
        """
        ends = np.array([0, *self._ends()], np.int64)
        below = np.zeros(len(ends), np.int64)
        for first in range(start_step, stop_step, _STEPS_AT_ONCE):
            steps = np.arange(first, min(first + _STEPS_AT_ONCE, stop_step))
            places = ends - self._starts(steps)[:, None]
            # How many of start, start + 1, start + 2, ... are below each end.
            below += np.maximum(-(-places // _ONE), 0).sum(axis=0)
        return dict(zip(self.sources, np.diff(below).tolist(), strict=True))

    def dataset(self, start_step: int = 0) -> tf.data.Dataset:
        """The batches that follow `start_step` steps, as `resumable_fit` wants them.

        Args:
            start_step: Batches to leave out at the start.

        Returns:
            Endless `tf.data.Dataset` of batches.
        """
        check_sources(self.sources, start_step, self.seed)
        streams = self._streams(self.counts(start_step))
        steps = tf.data.Dataset.range(start_step, tf.int64.max)
        ends = self._ends()
        choices = steps.map(lambda step: self._choices(step, ends)).unbatch()
        mixed = tf.data.Dataset.choose_from_datasets(streams, choices)
        batches = mixed.batch(self.batch_size, drop_remainder=True)
        if self.batch_preprocess is not None:
            batches = batches.map(
                self.batch_preprocess, num_parallel_calls=2, deterministic=True
            )
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        return batches.apply(endless).prefetch(2).with_options(training_options())

    def _streams(self, seen: Mapping[str, int]) -> list[tf.data.Dataset]:
        """The examples of each source, after those that were seen."""
        sizes = source_sizes(self.sources, self.sizes or {})
        streams = {}
        for number, (name, source) in enumerate(self.sources.items()):
            if isinstance(source, tf.data.Dataset):
                batches = shuffled_batches(
                    source,
                    sizes[name],
                    1,
                    (self.seed, number),
                    seen[name],
                    self.shuffle_buffer,
                )
            else:
                batches = source(batch_size=1, start_step=seen[name])
            streams[name] = batches.unbatch()
        _check_same_form(streams)
        return list(streams.values())

    def _choices(self, step: tf.Tensor, ends: list[int]) -> tf.Tensor:
        """Numbers of the sources of one batch, int64 `(batch_size,)`."""
        places = tf.range(self.batch_size, dtype=tf.int64) * _ONE + self._starts(step)
        numbers = tf.searchsorted(
            tf.constant(ends, tf.int64), places, side="right", out_type=tf.int64
        )
        return tf.random.experimental.stateless_shuffle(
            numbers, tf.stack([tf.constant(self.seed, tf.int64), step])
        )

    def _starts(self, steps):
        # Whole numbers, so that NumPy and TensorFlow agree to the last place.
        return (steps * _GOLDEN + self.seed * 0x632BE5AB) % _ONE

    def _ends(self) -> list[int]:
        """Where each source's part of the places of a batch ends."""
        ends = np.cumsum(list(self.shares.values())) * self.batch_size
        ends = [round(float(end) * _ONE) for end in ends]
        return [*ends[:-1], self.batch_size * _ONE]


def mix_datasets(
    sources: Mapping[str, Source], batch_size: int, *, start_step: int = 0, **options
) -> tf.data.Dataset:
    """Mixes data sets by weight, size or temperature.

    Args:
        sources: As in `DatasetMixture`.
        batch_size: As in `DatasetMixture`.
        start_step: Batches to leave out at the start, for a resumed run.
        **options: Further arguments of `DatasetMixture`.

    Returns:
        Endless `tf.data.Dataset` of batches.

    Raises:
        ValueError: As `DatasetMixture`.

    Example:
        >>> examples = tf.data.Dataset.range
        >>> data = kmmft.data.mix_datasets(
        ...     {"web": examples(60), "books": examples(100, 120)},
        ...     batch_size=10, sampling={"web": 0.9, "books": 0.1})
        >>> sum(int(x) >= 100 for x in next(iter(data)))
        1
    """
    return DatasetMixture(sources, batch_size, **options).dataset(start_step)


def _check_same_form(streams: Mapping[str, tf.data.Dataset]) -> None:
    (first, expected), *others = (
        (name, stream.element_spec) for name, stream in streams.items()
    )
    for name, spec in others:
        if spec != expected:
            raise ValueError(
                "All data sets of a mixture must give examples of the same form. "
                f"Received: {spec} from {name!r}, but {expected} from {first!r}. Give "
                "each a `preprocess` that makes the same features, of the same shapes."
            )
