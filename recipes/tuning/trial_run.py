"""One trial: a recipe in a process of its own, watched epoch by epoch."""

import contextlib
import csv
import ctypes
import hashlib
import json
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .space import flags_of

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.5
_SECONDS_TO_END = 30
# Of what is told in a directory's name: file systems take 255.
_MOST_CHARACTERS = 100


def _end_with_parent() -> None:
    """Asks Linux for a SIGTERM when the search is killed, which can do nothing then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def directory_name(values: Mapping[str, Any]) -> str:
    """A name of few and safe characters, which other values do not have.

    Example:
        >>> directory_name({"learning_rate": 0.1, "text_column": "a/b"})
        'learning_rate=0.1-text_column=a_b-c641f59d'
    """
    told = "-".join(f"{name}={value}" for name, value in values.items())
    safe = re.sub(r"[^\w.=+-]+", "_", told, flags=re.ASCII)[:_MOST_CHARACTERS]
    digest = hashlib.sha256(json.dumps(dict(values)).encode()).hexdigest()
    return f"{safe}-{digest[:8]}"


class TrialFailed(RuntimeError):
    """A recipe that ended with an error; the search goes on with other values."""


class TrialRun:
    """A run of a recipe with some of its settings.

    It has a directory named after the values, so that the same values again go on
    where the run was stopped, or take what it found.

    Args:
        module: The recipe, as `python -m` takes it.
        flags: Flags that all runs have.
        folder: Where the directories of the runs are.
        values: What is tried.
    """

    def __init__(
        self,
        module: str,
        flags: Sequence[str],
        folder: pathlib.Path,
        values: Mapping[str, Any],
    ):
        self.directory = folder / directory_name(values)
        self.command = [sys.executable, "-m", module, *flags, *flags_of(values)]
        self.command.append(f"--output_dir={self.directory}")

    def epochs(self, metric: str) -> Iterator[tuple[int, float]]:
        """Runs the recipe and yields a column of its history as it grows.

        Who stops taking values stops the recipe.

        Raises:
            TrialFailed: If the recipe ends with an error.
            ValueError: If its history has no such column.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        last = -1
        with (
            (self.directory / "output.log").open("ab") as log,
            self._process(log) as process,
        ):
            while True:
                has_ended = process.poll() is not None
                rows = self._history()
                # A run that goes on may write its last rows once more.
                for row in (row for row in rows if int(row["epoch"]) > last):
                    if metric not in row:
                        raise ValueError(
                            "`--metric` must be a column of the recipe's history.csv. "
                            f"Received: {metric!r}. Its columns: {', '.join(row)}."
                        )
                    last = int(row["epoch"])
                    if row[metric]:
                        yield last, float(row[metric])
                if has_ended:
                    break
                time.sleep(_POLL_SECONDS)
        if process.returncode:
            raise TrialFailed(self._last_line())

    @contextlib.contextmanager
    def _process(self, log) -> Iterator[subprocess.Popen]:
        process = subprocess.Popen(
            self.command, stdout=log, stderr=log, preexec_fn=_end_with_parent
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _history(self) -> list[dict[str, str]]:
        # Written whole under another name and renamed, so never half of it.
        try:
            with (self.directory / "history.csv").open(newline="") as file:
                return list(csv.DictReader(file))
        except FileNotFoundError:
            return []

    def _last_line(self) -> str:
        output = (self.directory / "output.log").read_text(errors="replace")
        lines = [line for line in output.splitlines() if line.strip()]
        return f"{lines[-1] if lines else 'no output'} ({self.directory}/output.log)"
