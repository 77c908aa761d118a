"""Writes records so that a build that is killed goes on with what is whole."""

import logging
import pathlib
import time
from collections.abc import Sequence
from typing import Any

from tfrecords_tools.bad_rows import BadRows, LeftOut
from tfrecords_tools.build_journal import BuildJournal, Checkpoint, RecordDigest
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.writer import DatasetWriter

_logger = logging.getLogger(__name__)

# What a kill costs at most. A build shorter than this leaves nothing if it fails.
_CHECKPOINT_SECONDS = 5.0


class ResumableBuild:
    """Writes records one after another, and notes from time to time what is whole.

    What comes out does not depend on how often the build was killed: it goes on only
    if the arguments, and the records up to there with their files, are the same.

    Args:
        writer: Where to write; entered, and made with `resumable=True`.
        records: All records, in the order of writing.
        bad_rows: Takes the rows that are left out.
        arguments: `hash_of_arguments` of all else that decides what is written.
        scratch: Folder of files that the source made for this build only.
    """

    def __init__(
        self,
        writer: DatasetWriter,
        records: Sequence[SourceRecord],
        bad_rows: BadRows,
        arguments: str,
        scratch: pathlib.Path | None = None,
    ):
        self._writer = writer
        self._records = records
        self._bad_rows = bad_rows
        self._scratch = scratch
        self._file = writer.incomplete.path / "journal.jsonl"
        self._journal = BuildJournal(self._file, arguments)
        self._digest = RecordDigest(scratch)
        self._left_out: list[tuple[int, str | None, str]] = []
        self._due = time.monotonic() + _CHECKPOINT_SECONDS
        self.num_done = 0

    def resume(self) -> None:
        """Goes on with what a killed build left, or deletes it; sets `num_done`."""
        same = self._same_checkpoints()
        back = 1
        while same and not self._go_back_to(same):
            # A power failure costs the last ones; a broken disk must not cost days.
            del same[-back:]
            back *= 2
        if same:
            self._journal.keep(same)
            _logger.warning(
                "Goes on with a build that did not end: %s of %s records are done.",
                f"{self.num_done:,}",
                f"{len(self._records):,}",
            )
        else:
            if self._file.exists():
                _logger.warning(
                    "The arguments or the source are not those of the build that did "
                    "not end."
                )
            self._writer.start_afresh()

    def add(self, content: dict[str, Any] | ValueError | LeftOut) -> None:
        """Writes the next record, or notes why not.

        Args:
            content: What was read from its file, to be written with its values; or
                what is wrong with it.

        Raises:
            ValueError: If it is bad and bad rows are not skipped.
        """
        record = self._records[self.num_done]
        if not isinstance(content, Exception):
            try:
                self._writer.write(record.split, record.values | content)
            except ValueError as error:
                content = error
        if isinstance(content, Exception):
            self._leave_out(self.num_done, content)
            name = content.filter if isinstance(content, LeftOut) else None
            self._left_out.append((self.num_done, name, str(content)))
        self._digest.add(record)
        self.num_done += 1
        if time.monotonic() >= self._due:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Notes that what was written so far is whole."""
        checkpoint = Checkpoint(
            self.num_done,
            self._digest.value(),
            self._writer.position(),
            tuple(self._left_out),
        )
        self._journal.append(checkpoint)
        self._left_out.clear()
        self._due = time.monotonic() + _CHECKPOINT_SECONDS

    def _same_checkpoints(self) -> list[Checkpoint]:
        """The checkpoints up to which the records have not changed."""
        found = [
            checkpoint
            for checkpoint in self._journal.read()
            if checkpoint.num_done <= len(self._records)
        ]
        digests = RecordDigest(self._scratch).values_at(
            self._records, [checkpoint.num_done for checkpoint in found]
        )
        same = []
        for checkpoint, digest in zip(found, digests, strict=True):
            if checkpoint.digest != digest:
                break
            same.append(checkpoint)
        return same

    def _go_back_to(self, checkpoints: Sequence[Checkpoint]) -> bool:
        """Takes over what the last of the checkpoints tells, if it is still there."""
        last = checkpoints[-1]
        left_out = {
            number: LeftOut(name, reason) if name else ValueError(reason)
            for checkpoint in checkpoints
            for number, name, reason in checkpoint.left_out
        }
        done = self._records[: last.num_done]
        split_of_id = {
            record.values["id"]: record.split
            for number, record in enumerate(done)
            if number not in left_out
        }
        complete = last.num_done == len(self._records)
        if not self._writer.go_back_to(last.position, split_of_id, complete):
            return False
        for number, why in left_out.items():
            self._leave_out(number, why)
        for record in done:
            self._digest.add(record)
        self.num_done = last.num_done
        return True

    def _leave_out(self, number: int, why: ValueError | LeftOut) -> None:
        for place in self._records[number].places:
            if isinstance(why, LeftOut):
                self._bad_rows.leave_out(place, why)
            else:
                self._bad_rows.add(place, str(why))
