"""Requests of image bytes and a question, through `kmmft-serve`.

The model is the quickstart's (EfficientNet-Lite0 at 64 pixels and MiniLM, untrained
head, which changes no time). Measured are the exported function in this process, the
server with 1, 8 and 32 visitors at once, and its memory over 100,000 requests of a
model that does next to nothing, so that what grows is the server's own.
"""

import asyncio
import base64
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import psutil

from kmmft.evaluation import Table

REQUESTS = 400
SOAK = 100_000


def measure() -> Table:
    """Milliseconds of requests, requests a second, and memory."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        body, raw = export_quickstart(folder / "vqa")
        rows += in_process(folder / "vqa/1", raw)
        with served(folder / "vqa", "vqa") as (address, _):
            for visitors in (1, 8, 32):
                seconds = asyncio.run(load(address, body, REQUESTS, visitors))
                rows.append(described(visitors, seconds))
        rows += soak(folder / "tiny")
    header = ["what", "requests/s", "p50 ms", "p95 ms", "p99 ms"]
    return Table("Serving", header, rows)


def export_quickstart(path: pathlib.Path) -> tuple[bytes, dict]:
    """Exports the model; returns a request's body and a row of raw inputs."""
    import tensorflow as tf

    import kmmft

    model = kmmft.models.FusionClassifier(
        encoders={
            "image": kmmft.encoders.ImageEncoder.from_preset("demo", image_size=64),
            "question": kmmft.encoders.TextEncoder.from_preset(
                "demo", sequence_length=12
            ),
        },
        fusion=kmmft.layers.BilinearFusion(512),
        class_names=[str(number) for number in range(13)],
    )
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    png = tf.io.encode_png(picture).numpy()
    raw = {"image": [png], "question": ["what color is the shape?"]}
    kmmft.export.export_model(model, path, raw)
    image = {"b64": base64.b64encode(png).decode()}
    row = {"image": image, "question": raw["question"][0]}
    return json.dumps({"instances": [row]}).encode(), raw


def in_process(directory: pathlib.Path, raw: dict) -> list[list]:
    import tensorflow as tf

    model = tf.saved_model.load(str(directory))
    ask = model.signatures["serving_default"]
    found = []
    for rows in (1, 8, 32):
        inputs = {name: tf.constant(value * rows) for name, value in raw.items()}
        times = []
        for _ in range(30):
            start = time.perf_counter()
            ask(**inputs)
            times.append(time.perf_counter() - start)
        found.append([f"in process, {rows} rows", *percentiles(times[5:], 1)])
    return found


@contextlib.contextmanager
def served(base: pathlib.Path, name: str):
    """A server in a process of its own; yields its address and process."""
    command = [sys.executable, "-m", "kmmft.serving", str(base), "--name", name]
    command += ["--rest_port", "18601", "--grpc_port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("Serving"):
                break
        try:
            yield f"/v1/models/{name}:predict", process
        finally:
            process.terminate()


async def load(path: str, body: bytes, requests: int, visitors: int) -> list[float]:
    """Seconds that each request took; each visitor sends one after the other."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    seconds: list[float] = []

    async def visit(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", 18601)
        for _ in range(count):
            start = time.perf_counter()
            writer.write(request)
            header = await reader.readuntil(b"\r\n\r\n")
            length = int(header.lower().split(b"content-length: ")[1].split(b"\r")[0])
            answer = await reader.readexactly(length)
            seconds.append(time.perf_counter() - start)
            if b" 200 " not in header:
                raise RuntimeError(f"refused: {answer[:200]}")
        writer.close()

    await asyncio.gather(*[visit(requests // visitors) for _ in range(visitors)])
    return seconds


def described(visitors: int, seconds: list[float]) -> list:
    return [f"server, {visitors} visitors", *percentiles(seconds, visitors)]


def percentiles(seconds: list[float], at_once: int) -> list[str]:
    rate = at_once / np.mean(seconds)
    milliseconds = 1e3 * np.percentile(seconds, [50, 95, 99])
    return [f"{rate:.0f}", *(f"{value:.1f}" for value in milliseconds)]


def soak(base: pathlib.Path) -> list[list]:
    from tests.serving.tiny_export import write_export

    base.mkdir()
    write_export(base, 1)
    body = json.dumps({"signature_name": "encode_text", "instances": ["a"]}).encode()
    rows = []
    with served(base, "tiny") as (address, process):
        memory = psutil.Process(process.pid).memory_info
        for part in range(5):
            seconds = asyncio.run(load(address, body, SOAK // 5, 16))
            megabytes = memory().rss / 2**20
            what = f"{(part + 1) * SOAK // 5:,} requests: {megabytes:.0f} MiB"
            rows.append([what, *percentiles(seconds, 16)])
    return rows
