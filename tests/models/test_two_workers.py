"""Two real processes train as one device does."""

import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.models import contrastive_cases as cases

CASES = {
    "plain": {},
    "cached": {"micro_batch_size": 2},
    "batch_norm": {"batch_norm": True},
}


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    root = pathlib.Path(__file__).parents[2]
    ports = free_ports(2)
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.models.two_workers", str(number)),
                *(*ports, str(folder / f"{number}.npz")),
            ],
            cwd=root,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CONFIG": ""},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in processes:
            process.kill()
    return [dict(np.load(folder / f"{number}.npz")) for number in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_workers_equal_one_device(case, workers):
    model, losses, weights = cases.train(**CASES[case])
    for results in workers:
        np.testing.assert_allclose(results[f"{case}_losses"], losses, atol=1e-5)
        others = [results[f"{case}_weight_{i}"] for i in range(len(weights))]
        assert cases.largest_difference(others, weights) < 1e-5
        # Evaluated by both, logged once, as the mean and not as the sum.
        vectors = model(cases.batch(), training=False)
        expected = model.loss_function.per_pair(
            list(vectors.values()), cases.GROUPS, logit_scale=model.logit_scale
        )
        expected = np.mean(expected) + float(sum(model.losses))
        assert results[f"{case}_evaluated"][0] == pytest.approx(expected, abs=1e-5)
