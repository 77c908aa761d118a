"""Programs that have a process of their own, for their threads and peak memory."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
# PyTorch is no dependency: `make peer` installs it into an environment of its own.
PEER = os.environ.get("PEER_PYTHON", str(ROOT / ".venv-peer/bin/python"))
HAS_PEER = pathlib.Path(PEER).exists()
THREADS = len(os.sched_getaffinity(0))


def output_of(
    program: str,
    *arguments: object,
    python: str = sys.executable,
    environment: dict[str, str] | None = None,
) -> str:
    """What a program printed.

    Args:
        program: Its text.
        *arguments: What it finds in `sys.argv` after its name.
        python: The interpreter.
        environment: Variables beside the present ones.
    """
    done = subprocess.run(
        [python, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )
    return done.stdout
