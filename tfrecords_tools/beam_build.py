"""Has a dataset written by the workers of an Apache Beam runner."""

import dataclasses
import importlib.util
import pathlib
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tfrecords_tools.bad_rows import BadRows, LeftOut
from tfrecords_tools.beam_parts import PartJob, ShardJob
from tfrecords_tools.beam_spools import BeamSpools
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.writer import DatasetWriter

# Enough for a worker to do in one go, and few enough to be done again after a kill.
RECORDS_PER_PART = 1000


def check_beam(runner: str) -> None:
    """Raises ValueError if Apache Beam is not installed, or has no such runner."""
    if importlib.util.find_spec("apache_beam") is None:
        raise ValueError(
            "--runner needs Apache Beam, which is not installed. Install it by: "
            "pip install 'kmmft[beam]'"
        )
    import apache_beam.runners

    try:
        apache_beam.runners.create_runner(runner)
    except Exception as error:  # Of its module, whatever that is.
        raise ValueError(
            "runner must be one of Apache Beam's, such as DirectRunner, or the full "
            f"name of a class. Received: runner={runner!r} ({_line(error)}); mend it."
        ) from error


def write_with_beam(
    writer: DatasetWriter,
    records: Sequence[SourceRecord],
    bad_rows: BadRows,
    options: BuildOptions,
    *,
    arguments: str,
    load: Callable[[Any], Any],
    feature: str,
    scratch: pathlib.Path | None,
) -> None:
    """Writes records as one machine would, with the same bytes.

    The rows are read and ordered where the build was started; images are read,
    checked, changed and written by the workers, who must see the same paths. A build
    that was killed goes on with the parts that are whole.

    Args:
        writer: Where to write; entered, and made with `resumable=True`.
        records: All records, in the order of writing.
        bad_rows: Takes the rows that are left out.
        options: What the user chose; `runner` and `runner_options` say who works.
        arguments: `hash_of_arguments` of all else that decides what is written.
        load: Reads the file of a record.
        feature: Name of the feature that files hold.
        scratch: Folder of files that the source made for this build only.

    Raises:
        ValueError: If the runner fails, a record is bad and bad rows are not skipped,
            or an id comes twice.
    """
    folder = writer.incomplete.path.absolute() / f"parts-{arguments[:16]}"
    if not folder.exists():
        writer.start_afresh()
        folder.mkdir()
    # From here on, an error keeps what is whole.
    writer.position()
    _clear_shards(folder, writer.incomplete.data)
    job = PartJob(
        folder,
        writer.features,
        load,
        feature,
        options.filter,
        options.skip_bad,
        scratch and scratch.absolute(),
    )
    job.forget_stop()
    num_parts = 0
    for num_parts, part in enumerate(_parts(records), start=1):
        rows = [_absolute(record) for record in part]
        job.rows_file(num_parts - 1).write_bytes(pickle.dumps(rows))

    def run(work: Callable[[int], None], count: int) -> None:
        _run(options, work, count)

    run(job, num_parts)
    written = _take_in(job, records, bad_rows)
    shard_job = ShardJob(folder, writer.incomplete.data.absolute())
    writer.take_over(BeamSpools(job, num_parts, shard_job, writer.name, run), written)


def _parts(records: Sequence[SourceRecord]) -> Iterator[Sequence[SourceRecord]]:
    """Stretches of the records; those with the same id stand side by side."""
    start = 0
    while start < len(records):
        end = min(start + RECORDS_PER_PART, len(records))
        last = records[end - 1].values["id"]
        while end < len(records) and records[end].values["id"] == last:
            end += 1
        yield records[start:end]
        start = end


def _absolute(record: SourceRecord) -> SourceRecord:
    """The record with a path that means the same where a worker runs."""
    image = record.image
    if isinstance(image, pathlib.Path):
        image = image.absolute()
    elif image is not None:
        image = dataclasses.replace(image, path=image.path.absolute())
    return dataclasses.replace(record, image=image)


def _clear_shards(folder: pathlib.Path, data: pathlib.Path) -> None:
    """What is cut of the parts is cut anew: it costs little, and they may differ."""
    for path in folder.glob("shard-*"):
        path.unlink()
    shutil.rmtree(data)
    data.mkdir()


def _take_in(
    job: PartJob, records: Sequence[SourceRecord], bad_rows: BadRows
) -> list[SourceRecord]:
    """The records that are written; the others go to the bad rows."""
    written, stopped = [], False
    for number, rows in enumerate(_parts(records)):
        result = job.result(number)
        if result is None:
            stopped = True
            continue
        if result["error"]:
            raise ValueError(result["error"])
        left_out = {place: (name, reason) for place, name, reason in result["left_out"]}
        for place, record in enumerate(rows):
            if place not in left_out:
                written.append(record)
                continue
            name, reason = left_out[place]
            for where in record.places:
                if name:
                    bad_rows.leave_out(where, LeftOut(name, reason))
                else:
                    bad_rows.add(where, reason)
    if stopped:
        raise ValueError(
            "The runner must do all parts. Received: some that are not there in "
            f"{job.folder}; do all workers see this folder? Run the command again."
        )
    return written


def _run(options: BuildOptions, work: Callable[[int], None], count: int) -> None:
    import apache_beam
    from apache_beam.options.pipeline_options import PipelineOptions

    flags = [f"--runner={options.runner}"]
    flags += [f"--{option.removeprefix('--')}" for option in options.runner_options]
    try:
        pipeline = apache_beam.Pipeline(options=PipelineOptions(flags))
        _ = (
            pipeline
            | apache_beam.Create(range(count))
            # Otherwise one worker would do all.
            | apache_beam.Reshuffle()
            | apache_beam.Map(work)
        )
        state = pipeline.run().wait_until_finish()
    except Exception as error:  # Runners are programs of many people.
        raise ValueError(
            "The runner must do its work to the end. Received: "
            f"{' '.join(flags)}, which stopped ({_line(error)}); mend that and run the "
            "same command again: it goes on with what is whole."
        ) from error
    if state != apache_beam.runners.runner.PipelineState.DONE:
        raise ValueError(
            "The runner must do its work to the end. Received: "
            f"{' '.join(flags)}, which ended as {state}; look at its log, and run the "
            "same command again: it goes on with what is whole."
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
