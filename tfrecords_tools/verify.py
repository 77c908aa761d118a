"""Checks every record of a data directory."""

import concurrent.futures
import dataclasses
import hashlib
import itertools
import json as json_format
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from kmmft.data.framing import Frame, read_frames
from tfrecords_tools.finding import Finding
from tfrecords_tools.progress import progress_bar
from tfrecords_tools.record_checks import CheckedRecord, RecordChecks
from tfrecords_tools.repair import repair_data

_SHOWN = 20
_CHECKED_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class VerifyResult:
    """What a data directory holds, and what is wrong with it.

    Attributes:
        directory: The data directory.
        num_records: Records that are whole, by split.
        findings: What is wrong, in the order of the files.
        num_without_image: Records that are whole and have no image: those of
            `kmmft.data.schema.labelled` may have a text, a sound or a table in its
            place.
        repaired: Whether it was mended.
        as_json: Whether `str()` is JSON.
    """

    directory: pathlib.Path
    num_records: dict[str, int]
    findings: tuple[Finding, ...]
    num_without_image: int = 0
    repaired: bool = False
    as_json: bool = False

    @property
    def exit_code(self) -> int:
        """0 if nothing is wrong any more, 1 otherwise."""
        return int(bool(self.findings) and not self.repaired)

    def __str__(self) -> str:
        if self.as_json:
            fields = dataclasses.asdict(self) | {"directory": str(self.directory)}
            return json_format.dumps(fields, ensure_ascii=False)
        counts = ", ".join(f"{name} {n:,}" for name, n in self.num_records.items())
        lines = [str(finding) for finding in self.findings[:_SHOWN]]
        if len(self.findings) > _SHOWN:
            lines.append(f"... and {len(self.findings) - _SHOWN:,} more (see --json)")
        lost = sum(finding.lost for finding in self.findings)
        end = "nothing is wrong"
        if self.repaired:
            end = f"repaired; {lost:,} bad stretches or files are in quarantine/"
        elif self.findings:
            end = f"{len(self.findings):,} faults; --repair keeps all that is whole"
        lacking = f", {self.num_without_image:,} of them without an image"
        whole = f"{counts} whole records{lacking if self.num_without_image else ''}"
        return "\n".join([*lines, f"{self.directory}: {whole}; {end}"])


def verify_data(
    *,
    data: str | pathlib.Path,
    check_images: bool = True,
    repair: bool = False,
    json: bool = False,
) -> VerifyResult:
    """Checks framing, checksums, features, images, ids, counts and sums.

    With `repair`, what is broken goes into `quarantine/` beside the shards, with a
    line in `quarantine.jsonl` that says from where and why; all other records stay,
    in their order, and counts and sums are set right. The directory is replaced when
    the new one is whole. One without faults is not touched.

    Args:
        data: Data directory (NAME/1.0.0, or NAME if there is one version).
        check_images: Decode every image.
        repair: Mend the directory.
        json: Print one JSON object, with all faults.

    Returns:
        Whole records by split, and the faults.

    Raises:
        ValueError: If it is no data directory, or a shard is missing that `repair`
            would need.

    Example:
        >>> from tfrecords_tools import DatasetWriter
        >>> features = kmmft.data.schema.labelled(image=False, class_names=["good"])
        >>> with DatasetWriter("checked", "reviews", features) as writer:
        ...     writer.write("train", {"id": "a", "text": "Fine.", "label": "good"})
        >>> verify_data(data="checked/reviews").findings
        ()
    """
    from kmmft.data import open_source

    if not pathlib.Path(data).is_dir():
        raise ValueError(
            f"data must be a directory that was built. Received: {data}, which "
            f"{'is a file' if os.path.exists(data) else 'does not exist'}."
        )
    source = open_source(data)
    checks = RecordChecks(source.features, check_images)
    sums, findings, counts = _sums(pathlib.Path(source.path)), [], {}
    num_without_image = 0
    total = sum(split.num_records for split in source.splits.values())
    with progress_bar("Verifying", total) as advance:
        for split in source.splits.values():
            for file, declared in zip(split.files, split.shard_lengths, strict=True):
                found = list(_verify_shard(file, declared, sums, checks, advance))
                findings += [one for one in found if isinstance(one, Finding)]
                whole = [one for one in found if isinstance(one, CheckedRecord)]
                counts[split.name] = counts.get(split.name, 0) + len(whole)
                num_without_image += sum(one.lacks_image for one in whole)
    findings += _undeclared(source)
    if repair and findings:
        repair_data(source, findings)
    return VerifyResult(
        pathlib.Path(source.path),
        counts,
        tuple(findings),
        num_without_image,
        repaired=repair and bool(findings),
        as_json=json,
    )


def _verify_shard(
    file: str,
    declared: int,
    sums: dict[str, str],
    checks: RecordChecks,
    advance: Callable[[], None],
) -> Iterator[Finding | CheckedRecord]:
    """What is wrong with a shard, and each record that is whole."""
    shard = os.path.basename(file)
    if not os.path.isfile(file):
        yield Finding(shard, "The shard is missing; copy or build it again.")
        return
    # Three bytes: a sound record of 35,615 bytes begins with the first two.
    if _begins_with(file, b"\x1f\x8b\x08") and not _begins_with_record(file):
        yield Finding(shard, "The shard is compressed by gzip; unpack it (gunzip).")
        return
    count, sound = 0, True
    for number, frame, record in _checked(file, checks):
        advance()
        count += 1
        lost = frame.payload is None or record.problem is not None
        if lost or frame.problem:
            sound = False
            yield Finding(
                shard,
                record.problem or frame.problem,
                record=number,
                offset=frame.offset,
                num_bytes=frame.num_bytes,
                id=record.id,
                lost=lost,
            )
        if not lost:
            yield record
    if count != declared:
        yield Finding(shard, f"There are {count:,} records; declared are {declared:,}.")
    elif sound and shard in sums and _sha256(file) != sums[shard]:
        yield Finding(shard, "The bytes are not those that were written (SHA-256).")


def _checked(
    file: str, checks: RecordChecks
) -> Iterator[tuple[int, Frame, CheckedRecord]]:
    """Each frame with its number, and what was found in it."""
    shard = os.path.basename(file)
    frames = enumerate(read_frames(file))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        while batch := list(itertools.islice(frames, _CHECKED_AT_ONCE)):
            looked = pool.map(lambda pair: checks.check(pair[1].payload), batch)
            for (number, frame), record in zip(batch, looked, strict=True):
                if record.problem is None and record.id is not None:
                    problem = checks.second_use(record.id, f"{shard} record {number}")
                    record = dataclasses.replace(record, problem=problem)
                yield number, frame, record


def _undeclared(source: Any) -> list[Finding]:
    declared = {
        os.path.basename(file)
        for split in source.splits.values()
        for file in split.files
    }
    present = {path.name for path in pathlib.Path(source.path).glob("*.tfrecord*")}
    reason = "The shard belongs to no split; no one reads it."
    return [Finding(shard, reason, lost=True) for shard in sorted(present - declared)]


def _sums(directory: pathlib.Path) -> dict[str, str]:
    """SHA-256 by shard, of directories that our writer wrote."""
    file = directory / "metadata.json"
    if not file.exists():
        return {}
    splits = json_format.loads(file.read_text(encoding="utf-8")).get("shards", {})
    return {
        shard["file"]: shard["sha256"] for shards in splits.values() for shard in shards
    }


def _begins_with_record(file: str) -> bool:
    first = next(read_frames(file), None)
    return first is not None and first.problem is None


def _begins_with(file: str, magic: bytes) -> bool:
    with open(file, "rb") as opened:
        return opened.read(len(magic)) == magic


def _sha256(file: str) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
