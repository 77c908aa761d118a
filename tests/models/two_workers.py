"""One of two processes that train the toy towers together; run by a test.

python -m tests.models.two_workers NUMBER PORT PORT OUTPUT.npz
"""

import json
import os
import sys


def main(number: int, ports: list[str], output: str) -> None:
    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]},
            "task": {"type": "worker", "index": number},
        }
    )
    import numpy as np
    import tensorflow as tf

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
    np.savez(output, **results)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:4], sys.argv[4])
