"""Time and memory of one training among many in the same process."""

import ctypes
import gc
import pathlib
import statistics
import time

import keras

_STATUS = pathlib.Path("/proc/self/status")
_CLEAR = pathlib.Path("/proc/self/clear_refs")


class TrainingCost(keras.callbacks.Callback):
    """Measures the seconds and the memory of a block, and the time of `fit`'s steps.

    `kmmft.evaluation.peak_memory_mb` never falls, so it cannot tell the runs of one
    process apart. This sets the kernel's mark back at the start of the block (Linux
    only). Memory that earlier runs left with the process counts as held before, so
    `memory_mb` is a lower bound.

    Attributes:
        seconds: Length of the block, with tracing and all else that is in it.
        memory_mb: MiB above what was held at the start; NaN where the kernel does not
            say.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> with kmmft.evaluation.TrainingCost() as cost:
        ...     history = model.fit(np.ones((8, 1)), np.ones((8, 1)), batch_size=2,
        ...                         callbacks=[cost], verbose=0)
        >>> 0 < cost.milliseconds_per_step < 1000 * cost.seconds
        True
    """

    def __init__(self):
        super().__init__()
        self.seconds = self.memory_mb = float("nan")
        self._steps: list[float] = []

    @property
    def milliseconds_per_step(self) -> float:
        """Median time of a step; NaN without steps."""
        return 1000 * statistics.median(self._steps or [float("nan")])

    def __enter__(self) -> "TrainingCost":
        gc.collect()
        _return_free_memory()
        self._held = _start_mark()
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_) -> None:
        self.seconds = time.perf_counter() - self._started
        if self._held is not None:
            self.memory_mb = _read("VmHWM") - self._held

    def on_train_batch_begin(self, batch, logs=None):
        self._step_started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self._steps.append(time.perf_counter() - self._step_started)


def _start_mark() -> float | None:
    try:
        _CLEAR.write_text("5")
        return _read("VmRSS")
    except OSError:
        return None


def _read(name: str) -> float:
    (line,) = (x for x in _STATUS.read_text().splitlines() if x.startswith(name))
    return int(line.split()[1]) / 1024


def _return_free_memory() -> None:
    """Has the C library give back what earlier runs have freed."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return
