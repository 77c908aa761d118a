"""One of two processes that train the toy towers together; run by a test.

python -m tests.models.two_workers FOLDER
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf

from kmmft.training.strategies import worker_number


def main(folder: str) -> None:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    from tests.models import contrastive_cases as cases

    results = {}
    for name, options in {
        "plain": {},
        "cached": {"micro_batch_size": 2},
        "batch_norm": {"batch_norm": True},
    }.items():
        model, losses, weights = cases.train(strategy, **options)
        results[f"{name}_losses"] = np.array(losses)
        for index, weight in enumerate(weights):
            results[f"{name}_weight_{index}"] = weight
        data = tf.data.Dataset.from_tensors((cases.batch(), cases.GROUPS))
        results[f"{name}_evaluated"] = np.array(model.evaluate(data, verbose=0))
    np.savez(pathlib.Path(folder, f"{worker_number()}.npz"), **results)


if __name__ == "__main__":
    main(sys.argv[1])
