"""Exact retrieval metrics of 50,000 images and texts, against whole score matrices.

The whole matrix of 50,000 x 50,000 cosines is 10 GB, and its ranks as much again, so
that NumPy's way (multiply, sort each row) is timed on 4,000 and scaled by the square.
Every measurement has a process of its own, for its peak memory. Measured on two cores,
in part beside other work: 25 s, 7.5 times as fast as the scaled time, in 231 MiB beside
the vectors where whole matrices would take 48 GB, and the same recall.
"""

from kmmft.evaluation import Table
from tests.benchmarks.own_process import output_of

DIM = 256
MANY, FEW = 50_000, 4_000
SETUP = """
import time
import numpy as np
from kmmft.evaluation import peak_memory_mb
from kmmft.metrics import two_way_retrieval
random = np.random.default_rng(0)
images = random.normal(size=({number}, {dim})).astype(np.float32)
texts = images + 3 * random.normal(size=images.shape).astype(np.float32)
own = np.arange({number})
two_way_retrieval(images[:64], texts[:64], own[:64])
memory, start = peak_memory_mb(), time.perf_counter()
"""
OURS = "print(two_way_retrieval(images, texts, own)['mean_recall'])"
WHOLE = """
images /= np.linalg.norm(images, axis=1, keepdims=True)
texts /= np.linalg.norm(texts, axis=1, keepdims=True)
recalls = []
for scores in (images @ texts.T, texts @ images.T):
    ranks = (np.argsort(-scores, axis=1) == own[:, np.newaxis]).argmax(axis=1)
    recalls += [np.mean(ranks < k) for k in (1, 5, 10)]
print(np.mean(recalls))
"""
REPORT = """
print(time.perf_counter() - start)
print(peak_memory_mb() - memory)
"""


def run(program: str, number: int) -> tuple[float, float, float]:
    """Mean recall, seconds and MiB over what the vectors took."""
    code = SETUP.format(number=number, dim=DIM) + program + REPORT
    recall, seconds, memory = map(float, output_of(code).split())
    return recall, seconds, memory


def measure() -> Table:
    recall, seconds, memory = run(OURS, MANY)
    few_recall, few_seconds, few_memory = run(OURS, FEW)
    whole_recall, whole_seconds, whole_memory = run(WHOLE, FEW)
    scale = (MANY / FEW) ** 2
    rows = [
        ["kmmft", MANY, seconds, memory, recall],
        ["kmmft", FEW, few_seconds, few_memory, few_recall],
        ["whole matrix, NumPy", FEW, whole_seconds, whole_memory, whole_recall],
        [
            "whole matrix, scaled",
            MANY,
            whole_seconds * scale,
            whole_memory * scale,
            None,
        ],
    ]
    return Table(
        f"Retrieval both ways, {DIM} wide",
        ["what", "pairs", "seconds", "MiB", "mean recall"],
        [
            [what, pairs, f"{seconds:.1f}", f"{mib:,.0f}", share]
            for what, pairs, seconds, mib, share in rows
        ],
    )
