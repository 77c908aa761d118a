"""Requests of image bytes and a question, in this process and over HTTP.

    python -m recipes.visual_question_answering --preset quickstart --variants \\
        --output_dir runs/bench
    python -m tests.benchmarks.serving

Measured are the quickstart's export and its variants, and what one would write without
kmmft (`onnx_peer.py`), in turns, so that other work on the machine disturbs all alike;
the same through `kmmft-serve`, with 1, 8 and 32 visitors at once; and the memory of the
server over many requests.

Found, fastest of 200 on two quiet cores: one row takes the float32 SavedModel 2.1 times
the peer's time, frozen 1.7, LiteRT float32 1.0, LiteRT int8 0.8, ONNX int8 1.15; eight
rows 1.3, 1.2, 0.9, 0.6 and 0.8. Over 100,000 requests the server's memory stays at 915
MiB. (With five times the cores' work on them, twice: 2.7 and 3.2; 2.1 and 2.7; 1.0 and
1.3; 0.8 and 1.3; 1.0 and 1.1.)

Why the SavedModel is slower than LiteRT (ms of one row, fastest): 17 to 22 in all, of
which 3 are preprocessing, 1.7 of them the `tf.data` pipeline that lets one bad image
fail alone. LiteRT float32 takes 4 for what is left, the graph 14. Weights as constants
(`frozen`) save 15 to 24 % of one row's time and 14 to 37 % of eight rows' (four runs),
since weights need not be read and laid out anew. The rest are TensorFlow's kernels, for
which few rows are too little work: by a trace of 27 ms in 873 operations, MatMul 6.6,
Einsum of the attention 6.0, convolutions 7.8, transpositions 2.7. Of no use: XLA (33
for 15), an executor of one thread (the same), oneDNN left out (the same).
"""

import argparse
import base64
import json
import pathlib
import time
from collections.abc import Callable

import numpy as np

from kmmft.evaluation import Table, print_table
from tests.benchmarks.load_client import PORT, described, load, served

EXPORT = pathlib.Path("runs/bench/export/1")
VARIANTS = ("frozen", "litert_float32", "litert_int8", "onnx", "onnx_int8")
SERVED = ("float32", "frozen", "litert_int8", "onnx_int8", "peer")
SOAKED = "litert_int8"
TOKENS = 12


def measure(
    export: pathlib.Path = EXPORT, rounds: int = 200, soak_requests: int = 100_000
) -> Table:
    """Requests a second, milliseconds, and the server's memory.

    Args:
        export: The quickstart's exported version. Its variants are in `variants`,
            beside the directory of the exports.
        rounds: Requests of each kind.
        soak_requests: Requests over which the memory is looked at.
    """
    directories = find(export)
    raw = warm_up_rows(export)
    rows = in_process(directories, raw, rounds)
    image = {"b64": base64.b64encode(raw["image"][0]).decode()}
    asked = {"image": image, "question": raw["question"][0].decode()}
    body = json.dumps({"instances": [asked]}).encode()
    for name in SERVED:
        with served(*command(name, directories)):
            load(name, body, rounds, 8)
            for visitors in (1, 8, 32):
                seconds = load(name, body, max(2 * rounds, 2 * visitors), visitors)
                what = f"served {name}, {visitors} at once"
                rows.append([what, *described(seconds, visitors), None])
    rows += soak(directories, body, soak_requests)
    milliseconds = ["fastest ms", "p50 ms", "p95 ms", "p99 ms"]
    header = ["what", "rows/s", *milliseconds, "fastest, p50 / peer's"]
    return Table("Serving", header, rows)


def find(export: pathlib.Path) -> dict[str, pathlib.Path]:
    """Base directories of the export and its variants, by name."""
    variants = export.parent.parent / "variants"
    found = {name: variants / name for name in VARIANTS}
    missing = [path for path in (export, *found.values()) if not path.exists()]
    if missing:
        raise ValueError(
            f"There must be an export with its variants. Received: no {missing[0]}. "
            "Run `python -m recipes.visual_question_answering --preset quickstart "
            "--variants --output_dir runs/bench`, as `make bench` does."
        )
    return {"float32": export.parent, **found}


def warm_up_rows(export: pathlib.Path) -> dict[str, np.ndarray]:
    """Real raw inputs, which stand beside the export."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    file = export / "assets.extra/tf_serving_warmup_requests"
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        inputs = log.predict_log.request.inputs
        if set(inputs) == {"image", "question"}:
            return {name: tf.make_ndarray(value) for name, value in inputs.items()}
    raise ValueError(f"There must be a request with both inputs. Received: {file}.")


def in_process(directories: dict, raw: dict, rounds: int) -> list[list]:
    """All kinds in turns, from bytes and strings to arrays."""
    import kmmft
    from tests.benchmarks.onnx_peer import OnnxPeer

    peer = OnnxPeer(directories["onnx"] / "1")
    peer.pad_to(TOKENS)
    answers: dict[str, Callable[[dict], dict]] = {
        name: kmmft.export.load_variant(path) for name, path in directories.items()
    }
    answers["peer"] = lambda batch: peer(
        batch["image"].tolist(), [text.decode() for text in batch["question"]]
    )
    rows = []
    for size in (1, 8):
        batch = {k: np.resize(v, size) for k, v in raw.items()}
        check_labels({name: answer(batch) for name, answer in answers.items()})
        seconds = {name: [] for name in answers}
        for _ in range(rounds):
            for name, answer in answers.items():
                start = time.perf_counter()
                answer(batch)
                seconds[name].append(time.perf_counter() - start)
        points = {k: np.percentile(v, [0, 50]) for k, v in seconds.items()}
        for name, found in seconds.items():
            ratio = "{:.2f}, {:.2f}".format(*points[name] / points["peer"])
            what = f"{name}, {size} rows"
            rows.append([what, *described(found, size), ratio])
    return rows


def check_labels(answers: dict[str, dict]) -> None:
    labels = {
        name: [x if isinstance(x, str) else x.decode() for x in answer["label"]]
        for name, answer in answers.items()
    }
    if any(found != labels["float32"] for found in labels.values()):
        raise ValueError(f"All must answer alike. Received: {labels}.")


def command(name: str, directories: dict) -> list:
    """The words that start a server of a variant, or of the peer."""
    if name == "peer":
        words = ["tests.benchmarks.onnx_peer", directories["onnx"] / "1"]
        return ["-m", *words, "--port", PORT, "--tokens", TOKENS]
    words = ["-m", "kmmft.serving", directories[name], "--name", name]
    return [*words, "--rest_port", PORT, "--grpc_port", "0"]


def soak(directories: dict, body: bytes, requests: int) -> list[list]:
    """The server's memory, after each fifth of many requests."""
    rows, parts = [], 5
    with served(*command(SOAKED, directories)) as process:
        for part in range(1, parts + 1):
            seconds = load(SOAKED, body, requests // parts, 16)
            megabytes = process.memory_info().rss / 2**20
            done = part * (requests // parts)
            what = f"{megabytes:.0f} MiB after {done:,}"
            rows.append([what, *described(seconds, 16), None])
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--export", type=pathlib.Path, default=EXPORT)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--soak_requests", type=int, default=100_000)
    options = parser.parse_args()
    print_table(measure(options.export, options.rounds, options.soak_requests))
