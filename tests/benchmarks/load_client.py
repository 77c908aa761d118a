"""Starts servers, and asks them over HTTP as many visitors at once would."""

import asyncio
import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import numpy as np
import psutil

PORT = 18601


@contextlib.contextmanager
def served(*words: object) -> Iterator[psutil.Process]:
    """A server in a process of its own, ready for requests to `PORT`.

    Args:
        *words: Of its command line, after Python's name.

    Yields:
        Its process.
    """
    command = [sys.executable, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _wait(process)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def _wait(process: subprocess.Popen, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # there is nothing at /, which a server says that is up
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"No server after {seconds} s: {process.args}.")


def load(name: str, body: bytes, requests: int, visitors: int) -> list[float]:
    """Sends requests; each visitor sends one after the other.

    Args:
        name: Name of the model.
        body: Of each request.
        requests: How many in all.
        visitors: How many connections at once.

    Returns:
        Seconds that each request took.

    Raises:
        RuntimeError: If one is refused.
    """
    return asyncio.run(_load(name, body, requests, visitors))


async def _load(name, body, requests, visitors) -> list[float]:
    head = (
        f"POST /v1/models/{name}:predict HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    seconds: list[float] = []

    async def visit(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        for _ in range(count):
            start = time.perf_counter()
            writer.write(request)
            header = await reader.readuntil(b"\r\n\r\n")
            length = int(header.lower().split(b"content-length: ")[1].split(b"\r")[0])
            answer = await reader.readexactly(length)
            seconds.append(time.perf_counter() - start)
            if b" 200 " not in header.split(b"\r\n")[0]:
                raise RuntimeError(f"refused: {answer[:200]}")
        writer.close()

    await asyncio.gather(*[visit(requests // visitors) for _ in range(visitors)])
    return seconds


def described(seconds: list[float], at_once: int) -> list[str]:
    """Rows a second, and the milliseconds of the fastest, the median, 95 and 99 %."""
    milliseconds = 1e3 * np.percentile(seconds, [0, 50, 95, 99])
    rate = at_once / np.mean(seconds)
    return [f"{rate:.0f}", *(f"{value:.1f}" for value in milliseconds)]
