"""The hidden directory in which a dataset grows until it is whole."""

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Iterator

_FULL = (errno.ENOSPC, errno.EDQUOT)


class IncompleteDirectory:
    """Holds a dataset that is not whole yet, and keeps others away from it.

    For `output_dir/name/version` it is `output_dir/.name-version.incomplete`, with the
    files in `data/` and whatever else its user puts there. A lock in it belongs to one
    process at a time, and ends with the process, however that ends.

    Args:
        final: The directory that the data will have when they are whole.
    """

    def __init__(self, final: pathlib.Path):
        self.final = final
        name = f".{final.parent.name}-{final.name}.incomplete"
        self.path = final.parent.parent / name
        self.data = self.path / "data"
        self._replaced = self.path / "replaced"
        self._lock_file = self.path / "lock"
        self._lock: int | None = None

    def open(self) -> None:
        """Takes the lock, and mends what a kill in the last moment left.

        Raises:
            ValueError: If another process is at work.
        """
        while self._lock is None:
            self._lock = self._take_lock()
        if self._replaced.exists() and not self.final.exists():
            self.final.parent.mkdir(parents=True, exist_ok=True)
            self._replaced.rename(self.final)
        self.data.mkdir(exist_ok=True)

    def holds_anything(self) -> bool:
        """Whether a build that was killed has left something."""
        return {path.name for path in self.path.iterdir()} != {"lock", "data"} or any(
            self.data.iterdir()
        )

    def clear(self) -> None:
        """Deletes what is in it but for the lock."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != self._lock_file:
                path.unlink()
        self.data.mkdir()

    def take_final_name(self) -> None:
        """Gives the data their final name; what has it so far is replaced."""
        self.final.parent.mkdir(parents=True, exist_ok=True)
        if self.final.exists():
            # Once both are here, `open` of the next process deletes one or the other.
            self.final.rename(self._replaced)
        self.data.rename(self.final)

    def close(self, keep: bool) -> None:
        """Ends the lock.

        Args:
            keep: Leave the files for the next process that opens it.
        """
        if not keep:
            for path in self.path.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path != self._lock_file:
                    path.unlink(missing_ok=True)
        self._lock_file.unlink(missing_ok=True)
        if not keep:
            # Another process may have come in already; then it is theirs.
            with contextlib.suppress(OSError):
                self.path.rmdir()
        os.close(self._lock)
        self._lock = None

    def _take_lock(self) -> int | None:
        """The open lock file; None if it was deleted meanwhile, to try again."""
        import fcntl

        self.path.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file), os.stat(self._lock_file)):
                os.truncate(file, 0)
                os.write(file, str(os.getpid()).encode())
                return file
        except BlockingIOError:
            process = os.read(file, 20).decode() or "unknown"
            os.close(file)
            raise ValueError(
                "One process at a time may write a dataset. Received: "
                f"{self.final}, which process {process} is writing; wait for it, or "
                "choose another name."
            ) from None
        except FileNotFoundError:
            pass
        os.close(file)
        return None


@contextlib.contextmanager
def full_disk_is_named(directory: pathlib.Path) -> Iterator[None]:
    """Turns the error of a full disk into one that says what to do.

    Args:
        directory: Where is written.

    Raises:
        ValueError: If there is no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        full = ValueError(
            "There must be room for the dataset. Received: "
            f"{directory} ({error.strerror}); free some and run the same command again."
        )
        for note in getattr(error, "__notes__", []):
            full.add_note(note)
        raise full from error
