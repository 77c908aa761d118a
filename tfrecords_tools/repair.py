"""Writes a data directory anew without what is broken."""

import collections
import dataclasses
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Sequence
from typing import Any

from kmmft.data.framing import frame, read_frames
from tfrecords_tools.finding import Finding
from tfrecords_tools.split_spool import describe_shard


def repair_data(source: Any, findings: Sequence[Finding]) -> None:
    """Replaces a data directory by one that holds all records that are whole.

    Args:
        source: What `kmmft.data.open_source` returned.
        findings: What is wrong with it.

    Raises:
        ValueError: If a shard is missing, or compressed, or the directory cannot be
            replaced.
    """
    directory = pathlib.Path(source.path)
    files = [file for split in source.splits.values() for file in split.files]
    _check_files(files, findings)
    new = directory.with_name(f".{directory.name}.repaired-{uuid.uuid4().hex[:8]}")
    try:
        shutil.copytree(
            directory, new, ignore=lambda *_: [os.path.basename(x) for x in files]
        )
        lost = collections.defaultdict(dict)
        for finding in findings:
            if finding.lost:
                lost[finding.shard][finding.record] = finding
                if finding.record is None:
                    _put_file_aside(new, finding)
        shards = {
            split.name: [
                _copy_shard(pathlib.Path(file), new, lost[os.path.basename(file)])
                for file in split.files
            ]
            for split in source.splits.values()
        }
        _write_counts(new, shards)
        _replace(directory, new)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _replace(directory: pathlib.Path, new: pathlib.Path) -> None:
    """The old directory is there until the new one has its name."""
    old = new.with_name(f"{new.name}-old")
    directory.rename(old)
    try:
        new.rename(directory)
    except OSError as error:
        old.rename(directory)
        raise ValueError(
            "The repaired data must take the place of those that are there. Received: "
            f"{directory}, which could not be replaced ({error.strerror}) and is as it "
            "was; mend that and run the same command again."
        ) from error
    shutil.rmtree(old)


def _check_files(files: Sequence[str], findings: Sequence[Finding]) -> None:
    declared = {os.path.basename(file) for file in files}
    for finding in findings:
        whole_file = finding.record is None and finding.shard in declared
        if whole_file and ("missing" in finding.reason or "gzip" in finding.reason):
            raise ValueError(
                "Only shards that are there can be repaired. Received: "
                f"{finding.shard}: {finding.reason}"
            )


def _copy_shard(
    file: pathlib.Path, directory: pathlib.Path, lost: dict[int, Finding]
) -> dict[str, Any]:
    """Copies what is whole, and puts aside what is not; describes the new shard."""
    target = directory / file.name
    num_records = 0
    with file.open("rb") as raw, target.open("wb") as out:
        for number, found in enumerate(read_frames(file)):
            if number in lost:
                raw.seek(found.offset)
                _put_aside(directory, lost[number], raw.read(found.num_bytes))
            else:
                out.write(frame(found.payload))
                num_records += 1
    return describe_shard(target, num_records)


def _put_aside(directory: pathlib.Path, finding: Finding, raw: bytes) -> None:
    path = _place_aside(directory, f"{finding.shard}-{finding.offset}", ".bin")
    path.write_bytes(raw)
    _log_aside(path, finding)


def _put_file_aside(directory: pathlib.Path, finding: Finding) -> None:
    path = _place_aside(directory, finding.shard)
    (directory / finding.shard).rename(path)
    _log_aside(path, finding)


def _place_aside(directory: pathlib.Path, name: str, ending: str = "") -> pathlib.Path:
    folder = directory / "quarantine"
    folder.mkdir(exist_ok=True)
    # A shard may be repaired again, and other bytes be broken at the same place.
    return folder / f"{name}-{uuid.uuid4().hex[:8]}{ending}"


def _log_aside(path: pathlib.Path, finding: Finding) -> None:
    line = dataclasses.asdict(finding) | {"file": path.name}
    with (path.parent / "quarantine.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line, ensure_ascii=False) + "\n")


def _write_counts(
    directory: pathlib.Path, shards: dict[str, list[dict[str, Any]]]
) -> None:
    """Sets right what the directory says of its shards."""
    file = directory / "dataset_info.json"
    info = json.loads(file.read_text(encoding="utf-8"))
    for split in info["splits"]:
        own = shards[split["name"]]
        payloads = sum(shard["num_bytes"] - 16 * shard["num_records"] for shard in own)
        split["shardLengths"] = [str(shard["num_records"]) for shard in own]
        split["numBytes"] = str(payloads)
    file.write_text(json.dumps(info, indent=2, sort_keys=True), encoding="utf-8")
    file = directory / "metadata.json"
    if file.exists():
        metadata = json.loads(file.read_text(encoding="utf-8"))
        if "shards" in metadata:
            metadata["shards"] = shards
            file.write_text(json.dumps(metadata), encoding="utf-8")
