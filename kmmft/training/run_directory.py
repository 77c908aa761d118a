"""The directory of a training run."""

import csv
import dataclasses
import fcntl
import io
import json
import logging
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import keras

from kmmft.training.quarantine import Quarantine
from kmmft.training.whole_files import write_whole

logger = logging.getLogger(__name__)


class RunDirectory:
    """What a run keeps: configuration, metrics, curves, checkpoints and log.

    `config.json` (resolved configuration), `metrics.json` (final, flat),
    `history.csv` (a row an epoch), `tensorboard/`, `checkpoints/`, `report.html`,
    `export/`, `run.log` and, if there are bad records, `quarantine.jsonl`. Files that
    are not logs are written under a temporary name and renamed, so that a kill leaves
    the old or the new one, never half of one. The directory belongs to one process at a
    time: two would write over each other's checkpoints.

    Args:
        path: The directory; made if it is not there.
        config: The run's configuration, a dataclass. It must be that of the run that
            is already in the directory, if there is one; a setting that is newer than
            that run must have its default.
        resume: Whether a run that is already there may go on.

    Raises:
        ValueError: If the directory holds a run with another configuration, or any
            run while `resume` is False, is in use, or cannot be written to.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Config:
        ...     epochs: int = 1
        >>> run = kmmft.training.RunDirectory("runs/example", Config())
        >>> run.write_metrics({"test/accuracy": 0.5})
        >>> run.metrics()
        {'test/accuracy': 0.5}
        >>> run.close()
    """

    # What may differ between the start of a run and its resumption. A build that
    # stopped at a bad row goes on where it is told to skip it.
    FREE_FIELDS = ("output_dir", "resume", "skip_bad")

    def __init__(self, path: str | os.PathLike, config: Any, resume: bool = True):
        self.path = pathlib.Path(path)
        self.config = dataclasses.asdict(config)
        # What a run did before there was such a setting.
        self._defaults = {
            field.name: field.default
            for field in dataclasses.fields(config)
            if field.default is not dataclasses.MISSING
        }
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.export = self.path / "export"
        self.report = self.path / "report.html"
        self._check(resume)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._log = logging.FileHandler(self.path / "run.log", encoding="utf-8")
            self._take_lock()
            self._write("config.json", json.dumps(self.config, indent=2, default=str))
        except OSError as error:
            raise ValueError(
                "A run needs a directory to write to. Received: "
                f"output_dir={str(self.path)!r} ({error}). Name another --output_dir."
            ) from error
        self._log.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        )
        self._quarantine = Quarantine(self.path / "quarantine.jsonl")
        for handler in (self._log, self._quarantine):
            logging.getLogger().addHandler(handler)

    def close(self) -> None:
        """Stops writing the log into the directory."""
        for handler in (self._log, self._quarantine):
            logging.getLogger().removeHandler(handler)
            handler.close()

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _take_lock(self) -> None:
        # Of the log, which stays open: the lock ends with the process, however it ends.
        try:
            fcntl.flock(self._log.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._log.close()
            raise ValueError(
                "One process at a time may use a run's directory. Received: "
                f"output_dir={str(self.path)!r}, which another one uses. Wait for it, "
                "or name another --output_dir."
            ) from None
        except OSError as error:  # some network file systems have no locks
            logger.warning("Cannot lock %s: %s", self.path, error)

    def _check(self, resume: bool) -> None:
        file = self.path / "config.json"
        # A run that came to nothing, as by a misspelt name, is in nobody's way.
        names = {entry.name for entry in self.path.glob("*")}
        names -= {"run.log", "quarantine.jsonl"}
        if not file.exists() or names == {file.name}:
            return
        if not resume:
            raise ValueError(
                "`--no_resume` needs a directory without a run. Received: "
                f"output_dir={str(self.path)!r}, which holds one. Name another "
                "--output_dir, or remove this one."
            )
        before = self._defaults | json.loads(file.read_text(encoding="utf-8"))
        before, now = (
            json.loads(json.dumps(config, default=str))
            for config in (before, self.config)
        )
        changed = [
            f"{key} was {before.get(key)!r}, is now {now.get(key)!r}"
            for key in sorted({*before, *now} - {*self.FREE_FIELDS})
            if before.get(key) != now.get(key)
        ]
        if changed:
            raise ValueError(
                "A run goes on only with its own configuration. Received: "
                f"{str(self.path)!r}, where {'; '.join(changed)}. Name another "
                "--output_dir for a new run, or remove this one."
            )

    def write_metrics(self, metrics: Mapping[str, float]) -> None:
        """Writes `metrics.json`; its presence means that the run is complete."""
        self._write("metrics.json", json.dumps(metrics, indent=2, sort_keys=True))

    def metrics(self) -> dict[str, float] | None:
        """Reads `metrics.json`, or gives None if the run is not complete."""
        file = self.path / "metrics.json"
        return json.loads(file.read_text()) if file.exists() else None

    def write_model(self, model: keras.Model) -> pathlib.Path:
        """Writes `model.keras`, from which the trained model can be loaded again."""
        unfinished = self.path / ".model.keras"
        model.save(unfinished)
        return unfinished.replace(self.path / "model.keras")

    def write_epoch(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Puts the epoch's row into `history.csv`, in place of rows from it on."""
        rows = [row for row in self._rows() if int(row["epoch"]) < epoch]
        rows.append({"epoch": epoch, **{k: float(v) for k, v in logs.items()}})
        names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(rows)
        self._write("history.csv", text.getvalue())

    def history(self, before: int | None = None) -> list[dict[str, float]]:
        """Reads `history.csv`.

        Args:
            before: Leaves out this epoch and later ones.

        Returns:
            One dict an epoch; values that are missing are left out.
        """
        rows = [
            {name: float(value) for name, value in row.items() if value}
            for row in self._rows()
        ]
        return [row for row in rows if before is None or row["epoch"] < before]

    def _rows(self) -> list[dict]:
        file = self.path / "history.csv"
        if not file.exists():
            return []
        with file.open(newline="", encoding="utf-8") as lines:
            return list(csv.DictReader(lines))

    def _write(self, name: str, text: str) -> None:
        write_whole(self.path / name, text)
