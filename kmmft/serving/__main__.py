"""Serves an exported model over REST and gRPC: `kmmft-serve EXPORT_DIR`."""

import asyncio
import dataclasses
import importlib.util
import logging
import os
import re
import signal
import sys
from collections.abc import Sequence

import tyro

_NEEDS = ("fastapi", "uvicorn", "grpc", "prometheus_client", "tensorflow_serving")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Serves an exported model, as TensorFlow Serving does.

    examples:
      kmmft-serve runs/quickstart/export --name vqa
      curl localhost:8501/v1/models/vqa:predict -d '{"instances":
          [{"image": {"b64": "..."}, "question": "what shape is it?"}]}'

    A variant, such as runs/quickstart/variants/litert_int8, is served alike.
    A new version in the directory is loaded and takes over while requests are
    answered. `/metrics` is for Prometheus, `/healthz` and `/readyz` for Kubernetes.
    """

    export_dir: tyro.conf.Positional[str]
    """Directory of the versions, such as runs/quickstart/export."""
    name: str = "model"
    """Name of the model in addresses."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 for all of this machine's."""
    rest_port: int = 8501
    """Port of REST."""
    grpc_port: int = 8500
    """Port of gRPC; 0 for none."""
    max_batch_size: int = 32
    """Most rows that are answered together."""
    workers: int = 1
    """Batches that are computed at a time."""
    poll_seconds: float = 5.0
    """Time between two looks for new versions."""
    request_megabytes: float = 64.0
    """Largest request."""
    rows: int = 256
    """Most rows of one request."""
    text_bytes: int = 100_000
    """Longest text."""
    waiting_requests: int = 1000
    """Requests that wait at most; more are refused."""
    drift_window: int = 500
    """Rows that are compared with the training data at a time."""
    drift_threshold: float = 0.25
    """Population stability index that raises an alarm."""
    drift_webhook: str = ""
    """Address that gets a POST when there is one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is told to stop.

    Args:
        arguments: Words of the command line; by default those of the process.

    Returns:
        Exit code: 0, or 2 if the settings are at fault.
    """
    settings = tyro.cli(Settings, args=arguments, use_underscores=True)
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"error: serving needs {', '.join(missing)}: pip install 'kmmft[serve]'\n"
        )
        return 2
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        asyncio.run(_serve(settings))
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


async def _serve(settings: Settings) -> None:
    from kmmft.serving.running_server import RunningServer

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", settings.name):
        raise ValueError(
            "`--name` must be of letters, digits, `_`, `.` and `-`. "
            f"Received: {settings.name!r}."
        )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    running = RunningServer.from_settings(settings)
    await running.start()
    addresses = [running.rest_address, running.grpc_address]
    sys.stdout.write(f"Serving {settings.name} at {' '.join(addresses)}\n")
    sys.stdout.flush()
    await stopped.wait()
    await running.stop()


if __name__ == "__main__":
    sys.exit(main())
