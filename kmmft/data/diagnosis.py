"""Where the time of an input pipeline goes, and whether the model waits for it."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import io
import time
from typing import TYPE_CHECKING

import tensorflow as tf

from kmmft.data.cores import usable_cores
from kmmft.data.dataset import build_dataset
from kmmft.data.parsing import parse_record
from kmmft.data.reading import open_source
from kmmft.data.record_reading import read_records
from kmmft.data.training_time import step_seconds

if TYPE_CHECKING:
    import keras

_RECORDS = 128
_BATCHES = 8
# In a pass of this length, what starting it costs does not count.
_LONG_SECONDS = 0.7
# Less than this part of the time is no wait worth a change.
_FREE = 0.1
_ADVICE = {
    "read": "Reading costs most: copy the shards to a local disk, or write more of "
    "them (`kmmft-tfrecords reshard`), for several are read at once.",
    "parse": "Parsing costs most: leave out features that nobody reads when the data "
    "is built.",
    "preprocess": "`preprocess` costs most. Decoding: store smaller images (`build` "
    "can resize), or decode only the random crop with `ImageAugmentation.decode` in "
    "`augment`. Tokenising belongs in `batch_preprocess`.",
    "augment": "`augment` costs most: ask for fewer changes (hue is the slowest), or "
    "make them with Keras' layers in the model, on its device.",
    "batch": "Copying into batches costs most: make smaller features, such as smaller "
    "images.",
    "batch_preprocess": "`batch_preprocess` costs most: look for Python functions in "
    "it, and for shorter texts.",
}


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage: milliseconds of one core for each record, and its part of all."""

    name: str
    milliseconds: float
    share: float


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found; print it.

    Attributes:
        stages: Time by stage, on one core, without the others. Empty for a dataset
            whose stages are not known.
        first_batch_seconds: Until the first batch was there, tracing and the filling of
            the shuffle buffer included.
        pipeline_seconds: For each batch of the whole pipeline alone.
        model_seconds: For each step of the model on one batch in memory; None without
            a model.
        together_seconds: For each step of the model fed by the pipeline.
        batch_size: Examples in a batch.
        advice: What to change, in sentences.
    """

    stages: list[Stage]
    first_batch_seconds: float
    pipeline_seconds: float
    model_seconds: float | None
    together_seconds: float | None
    batch_size: int
    advice: list[str]

    @property
    def waiting(self) -> float | None:
        """The part of the training's time by which the pipeline makes it longer."""
        if self.model_seconds is None or self.together_seconds is None:
            return None
        return max(0.0, 1 - self.model_seconds / self.together_seconds)

    def __str__(self) -> str:
        import rich.console
        import rich.table

        table = rich.table.Table()
        for name, side in (("", "left"), ("ms", "right"), ("part", "right")):
            table.add_column(name, justify=side)
        for stage in self.stages:
            each = f"{stage.milliseconds:.3f}"
            table.add_row(f"{stage.name}, a record", each, f"{stage.share:.0%}")
        table.add_section()
        for name, seconds in (
            ("first batch", self.first_batch_seconds),
            (f"pipeline, a batch of {self.batch_size}", self.pipeline_seconds),
            ("model, a step", self.model_seconds),
            ("both together, a step", self.together_seconds),
        ):
            if seconds is not None:
                table.add_row(name, f"{1000 * seconds:.1f}", "")
        file = io.StringIO()
        rich.console.Console(file=file, width=80).print(table)
        return file.getvalue() + "\n".join(self.advice)


def diagnose(
    dataset: tf.data.Dataset | functools.partial,
    model: keras.Model | None = None,
    *,
    num_batches: int = 20,
) -> Diagnosis:
    """Measures the stages of an input pipeline, and a model that is fed by it.

    Each stage is timed by itself, on one core, over the first records of the split.
    Then the whole pipeline runs alone. With a model, its step is timed on one batch in
    memory and then fed by the pipeline; its weights and its optimizer are put back as
    they were. Where the model computes on the same cores, the two slow each other down,
    which counts as waiting here.

    The first records are often in the system's cache when they are timed, so a slow
    disk or network shows in the whole pipeline rather than in "read".

    Args:
        dataset: `functools.partial(kmmft.data.build_dataset, ...)` with all arguments
            that it needs; or any dataset of batches, whose stages are then not known.
        model: Compiled and built model that takes the batches.
        num_batches: Batches to time.

    Returns:
        `Diagnosis`. Print it.

    Raises:
        ValueError: If `dataset` is neither, or the model is not compiled and built.

    Example:
        >>> data = tf.data.Dataset.from_tensors({"x": tf.zeros((8, 3))}).repeat()
        >>> diagnosis = kmmft.data.diagnose(data, num_batches=2)
        >>> diagnosis.batch_size, diagnosis.stages
        (8, [])

        Of the batches of a training, with the model that waits for them:

            build = functools.partial(
                kmmft.data.build_dataset, "data/open_clip_art/1.0.0", split="train",
                preprocess=model.decode_record, augment=augment,
                batch_preprocess=model.prepare_batch, batch_size=32, training=True)
            print(kmmft.data.diagnose(build, model))
    """
    _check(dataset, num_batches)
    stages = []
    if isinstance(dataset, functools.partial):
        stages = _stages(dataset)
        dataset = dataset()
    start = time.perf_counter()
    batches = iter(dataset)
    batch = next(batches)
    first_batch = time.perf_counter() - start
    pipeline = _seconds_each(batches, num_batches)
    model_alone = together = None
    if model is not None:
        repeated = tf.data.Dataset.from_tensors(batch).repeat()
        model_alone = step_seconds(model, repeated, num_batches)
        together = step_seconds(model, dataset, num_batches)
    size = int(tf.shape(tf.nest.flatten(batch)[0])[0])
    found = Diagnosis(stages, first_batch, pipeline, model_alone, together, size, [])
    return dataclasses.replace(found, advice=_advice(found))


def _check(dataset: object, num_batches: int) -> None:
    is_partial = isinstance(dataset, functools.partial)
    known = is_partial and dataset.func is build_dataset
    if not known and not isinstance(dataset, tf.data.Dataset):
        raise ValueError(
            "`dataset` must be functools.partial(kmmft.data.build_dataset, ...) or a "
            f"tf.data.Dataset. Received: {dataset}. Put the arguments of "
            "`build_dataset` into a partial."
        )
    if num_batches < 1:
        raise ValueError(
            f"`num_batches` must be at least 1. Received: num_batches={num_batches}."
        )


def _seconds_each(batches, count: int) -> float:
    start, done = time.perf_counter(), 0
    for _ in batches:
        done += 1
        if done == count:
            break
    # A dataset of one batch has shown all it has.
    return (time.perf_counter() - start) / max(done, 1)


def _stages(build: functools.partial) -> list[Stage]:
    """Times the stages one by one, each added to those before it."""
    given = inspect.signature(build_dataset).bind(*build.args, **build.keywords)
    given.apply_defaults()
    options = given.arguments
    source = open_source(options["source"], options["schema"])
    records = read_records(source, options["split"], on_error=options["on_error"])
    records = records.take(_RECORDS)
    serialized = [record.numpy() for record in records]
    steps = {"parse": lambda record: parse_record(record, source.features)}
    if options["preprocess"] is not None:
        steps["preprocess"] = options["preprocess"]
    if options["training"] and options["augment"] is not None:
        steps["augment"] = _with_seed(options["augment"])
    seconds = {"read": _seconds_a_record(records, len(serialized))}
    data = tf.data.Dataset.from_tensor_slices(serialized)
    before = _seconds_a_record(data, len(serialized))
    for name, function in steps.items():
        data = data.map(function).ignore_errors()
        after = _seconds_a_record(data, len(serialized))
        seconds[name], before = after - before, after
    data = data.batch(min(options["batch_size"], len(serialized)))
    seconds["batch"] = _seconds_a_record(data, len(serialized)) - before
    if options["batch_preprocess"] is not None:
        seconds["batch_preprocess"] = _batch_function(data, options["batch_preprocess"])
    # Differences of nearly nothing may come out below it.
    seconds = {name: max(value, 0.0) for name, value in seconds.items()}
    total = sum(seconds.values()) or 1.0
    return [Stage(name, 1000 * s, s / total) for name, s in seconds.items()]


def _with_seed(augment):
    return lambda record: augment(record, tf.constant([0, 1], tf.int32))


def _batch_function(batches: tf.data.Dataset, function) -> float:
    """Seconds a record of a function of batches, over one batch again and again."""
    batch = next(iter(batches))
    held = tf.data.Dataset.from_tensors(batch).repeat(_BATCHES)
    records = _BATCHES * int(tf.shape(tf.nest.flatten(batch)[0])[0])
    with_it = _seconds_a_record(held.map(function), records)
    return with_it - _seconds_a_record(held, records)


def _seconds_a_record(dataset: tf.data.Dataset, records: int) -> float:
    """On one core, without what starting a pass costs."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1

    def passes(number: int) -> float:
        repeated = dataset.repeat(number).with_options(options)
        start = time.perf_counter()
        # Counted inside TensorFlow: Python's loop would cost more than some stages.
        repeated.reduce(tf.constant(0), lambda count, *_: count + 1)
        return time.perf_counter() - start

    first = passes(1)
    if first > _LONG_SECONDS:
        return first / records
    one = min(passes(1), passes(1))
    return max(passes(3) - one, 0.0) / (2 * records)


def _advice(found: Diagnosis) -> list[str]:
    advice = []
    if found.stages:
        slowest = max(found.stages, key=lambda stage: stage.milliseconds)
        work = sum(stage.milliseconds for stage in found.stages)
        best = found.batch_size * work / 1000 / usable_cores()
        if found.pipeline_seconds > 1.6 * best:
            advice.append(
                f"On {usable_cores()} cores the stages alone would take "
                f"{1000 * best:.1f} ms a batch: something else is slow, such as the "
                "disk, other programs, a Python function, or `num_parallel_calls` "
                "below the number of cores."
            )
        advice.append(_ADVICE[slowest.name])
    if found.waiting is None:
        return advice
    if found.waiting < _FREE:
        return ["The model hardly waits for its data: nothing is to be gained here."]
    line = f"The training takes {found.waiting:.0%} of its time longer than the model "
    if found.pipeline_seconds < found.model_seconds:
        line += (
            "alone, though the pipeline is the faster one: both compute on the same "
            "cores. A device for the model, or less work in the pipeline, helps."
        )
    else:
        line += "alone: it starves."
    return [line, *advice]
