"""The list of bad records that a run keeps."""

import dataclasses
import json
import logging
import pathlib


class Quarantine(logging.Handler):
    """Writes a line of JSON for each bad record that `kmmft.data` logs.

    `split`, `id`, `reason`, `shard`, `number` (of the record in the shard, from 0) and
    `byte_offset`. A record has one line, however often a run is resumed. The file is
    made with the first one.

    Args:
        path: The file.

    Example:
        >>> quarantine = kmmft.training.quarantine.Quarantine("quarantine.jsonl")
        >>> logging.getLogger().addHandler(quarantine)
        >>> kmmft.data.BadRecords().add("train", "cat-7", "Input is empty.", limit=3)
        >>> logging.getLogger().removeHandler(quarantine)
        >>> json.loads(pathlib.Path("quarantine.jsonl").read_text())["id"]
        'cat-7'
    """

    def __init__(self, path: str | pathlib.Path):
        super().__init__()
        self.path = pathlib.Path(path)
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        self._known = set(text.splitlines())
        # A kill may have left half a line.
        self._separator = "" if text.endswith("\n") or not text else "\n"

    def emit(self, record: logging.LogRecord) -> None:
        bad_record = getattr(record, "bad_record", None)
        if bad_record is None:
            return
        line = json.dumps(dataclasses.asdict(bad_record), ensure_ascii=False)
        if line not in self._known:
            self._known.add(line)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{self._separator}{line}\n")
            self._separator = ""
