"""Requests of several visitors, answered together."""

import asyncio
import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable

import numpy as np

from kmmft.serving.request_error import RequestError
from kmmft.serving.served_model import ServedModel

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(eq=False)
class _Waiting:
    inputs: Arrays
    rows: int
    answer: asyncio.Future


class Batcher:
    """Puts what waits together whenever the model is free.

    A request that finds the model free is answered at once; those that come while it
    works are put together, so that nobody waits for a clock. Requests go together if
    they ask the same signature of the same version with the same shape of a row. Where
    a batch fails, each of its requests is answered alone, so that one cannot spoil the
    others.

    Args:
        max_batch_size: Most rows of a batch; a larger request is a batch of its own.
        workers: Batches that are computed at a time.
        waiting_requests: Requests that wait at most.
        on_batch: Called with the number of rows of each batch.
    """

    def __init__(
        self,
        max_batch_size: int = 32,
        workers: int = 1,
        waiting_requests: int = 1000,
        on_batch: Callable[[int], None] = lambda rows: None,
    ):
        if max_batch_size < 1 or workers < 1:
            raise ValueError(
                "`max_batch_size` and `workers` must be positive. Received: "
                f"{max_batch_size} and {workers}."
            )
        self.max_batch_size = max_batch_size
        self._waiting_requests = waiting_requests
        self._on_batch = on_batch
        self._free = workers
        self._queues: dict[tuple, collections.deque[_Waiting]] = {}
        self._pool = concurrent.futures.ThreadPoolExecutor(workers, "model")
        self._running: set[asyncio.Task] = set()

    @property
    def num_waiting(self) -> int:
        """Requests that wait for the model."""
        return sum(map(len, self._queues.values()))

    async def run(self, model: ServedModel, signature: str, inputs: Arrays) -> Arrays:
        """Answers one request.

        Args:
            model: The version that is asked.
            signature: Its signature.
            inputs: Arrays by name, with as many rows.

        Raises:
            RequestError: If too many wait, or the model refuses the inputs.
        """
        if self.num_waiting >= self._waiting_requests:
            raise RequestError(
                f"{self._waiting_requests} requests wait already; try again later.",
                status=503,
            )
        shapes = tuple(sorted((name, x.shape[1:]) for name, x in inputs.items()))
        # The model itself, which must not be let go of while requests wait for it.
        key = (model, signature, shapes)
        rows = len(next(iter(inputs.values())))
        answer = asyncio.get_running_loop().create_future()
        waiting = _Waiting(inputs, rows, answer)
        self._queues.setdefault(key, collections.deque()).append(waiting)
        self._start()
        try:
            return await answer
        except asyncio.CancelledError:
            # The visitor has gone.
            queue = self._queues.get(key, ())
            if waiting in queue:
                queue.remove(waiting)
            raise

    def _start(self) -> None:
        """Gives batches to workers that are free, to each queue in turn."""
        while self._free and self._queues:
            key = next(iter(self._queues))
            queue = self._queues.pop(key)
            batch, rows = [], 0
            while queue and (not batch or rows + queue[0].rows <= self.max_batch_size):
                batch.append(queue.popleft())
                rows += batch[-1].rows
            if queue:
                # Behind the others.
                self._queues[key] = queue
            if batch:
                self._free -= 1
                task = asyncio.ensure_future(self._answer(key, batch))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _answer(self, key: tuple, batch: list[_Waiting]) -> None:
        try:
            model, signature, _ = key
            parts = await self._compute(model, signature, batch)
            for waiting, part in zip(batch, parts, strict=True):
                if waiting.answer.done():
                    continue
                if isinstance(part, Exception):
                    waiting.answer.set_exception(part)
                else:
                    waiting.answer.set_result(part)
        finally:
            self._free += 1
            self._start()

    async def _compute(self, model, signature, batch) -> list[Arrays | Exception]:
        rows = [waiting.rows for waiting in batch]
        self._on_batch(sum(rows))
        joined = {
            name: np.concatenate([waiting.inputs[name] for waiting in batch])
            for name in batch[0].inputs
        }
        try:
            outputs = await self._in_thread(model, signature, joined)
        except Exception as error:
            if len(batch) == 1:
                return [error]
            return [
                part
                for waiting in batch
                for part in await self._compute(model, signature, [waiting])
            ]
        ends = np.cumsum(rows)[:-1]
        parts = {name: np.split(x, ends) for name, x in outputs.items()}
        return [
            {name: pieces[number] for name, pieces in parts.items()}
            for number in range(len(batch))
        ]

    async def _in_thread(self, model, signature, inputs) -> Arrays:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, model.run, signature, inputs)

    async def close(self) -> None:
        """Waits for what is being computed."""
        while self._running or self._queues:
            await asyncio.gather(*self._running, return_exceptions=True)
            await asyncio.sleep(0)
        self._pool.shutdown()
