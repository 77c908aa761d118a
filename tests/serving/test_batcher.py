import asyncio
import threading

import numpy as np
import pytest

from kmmft.serving.batcher import Batcher
from kmmft.serving.request_error import RequestError


class Model:
    """Doubles numbers, one batch after the other, when it is let go."""

    def __init__(self):
        self.batches = []
        self.go = threading.Event()

    def run(self, signature, inputs):
        assert self.go.wait(10)
        self.batches.append((signature, inputs["x"].tolist()))
        if -1 in inputs["x"]:
            raise RequestError("no negative numbers")
        return {"y": 2 * inputs["x"]}


def answered(requests, **options):
    """What becomes of requests, all of which wait before the first is answered."""
    model = Model()

    async def ask_all():
        batcher = Batcher(**options)
        tasks = [
            asyncio.ensure_future(batcher.run(model, signature, {"x": np.array(x)}))
            for signature, x in requests
        ]
        await asyncio.sleep(0.05)
        model.go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.close()
        return [a["y"].tolist() if isinstance(a, dict) else a for a in answers]

    return asyncio.run(ask_all()), model.batches


def test_what_waits_is_answered_together():
    answers, batches = answered([("s", [n]) for n in range(6)], max_batch_size=3)
    assert answers == [[2 * n] for n in range(6)]
    # The first found the model free.
    assert [len(x) for _, x in batches] == [1, 3, 2]


def test_only_the_same_signature_and_shape_go_together_and_each_in_turn():
    rows = [("a", [0])] * 3 + [("b", [1])] + [("a", [[2, 2]])] + [("b", [3, 3])]
    answers, batches = answered(rows, max_batch_size=2)
    assert answers == [[0], [0], [0], [2], [[4, 4]], [6, 6]]
    assert batches == [
        ("a", [0]),
        ("a", [0, 0]),
        ("b", [1]),
        ("a", [[2, 2]]),
        ("b", [3, 3]),
    ]


def test_a_larger_request_is_a_batch_of_its_own():
    answers, batches = answered(
        [("s", [0]), ("s", [1] * 5), ("s", [2])], max_batch_size=2
    )
    assert answers == [[0], [2] * 5, [4]]
    assert [len(x) for _, x in batches] == [1, 5, 1]


def test_a_failing_request_is_told_so_alone():
    answers, _ = answered([("s", [n]) for n in (0, 1, -1, 3)], max_batch_size=8)
    assert isinstance(answers.pop(2), RequestError)
    assert answers == [[0], [2], [6]]


def test_too_many_that_wait_are_refused():
    answers, _ = answered([("s", [n]) for n in range(5)], waiting_requests=2)
    # One is being answered, two wait.
    assert answers[:3] == [[0], [2], [4]]
    assert [error.status for error in answers[3:]] == [503, 503]


def test_wrong_settings():
    with pytest.raises(ValueError, match="must be positive"):
        Batcher(max_batch_size=0)
