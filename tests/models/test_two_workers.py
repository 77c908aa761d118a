"""Two real processes train as one device does."""

import numpy as np
import pytest

from tests.models import contrastive_cases as cases
from tests.worker_processes import run_two_workers

pytestmark = pytest.mark.slow

CASES = {
    "plain": {},
    "cached": {"micro_batch_size": 2},
    "batch_norm": {"batch_norm": True},
}


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    run_two_workers("tests.models.two_workers", [str(folder)], folder)
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
