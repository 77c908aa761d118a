import asyncio
import threading

import pytest

pytest.importorskip("fastapi")

from kmmft.serving.limits import Limits
from kmmft.serving.model_server import ModelServer
from kmmft.serving.running_server import RunningServer
from tests.serving.tiny_export import write_export


class ServerThread:
    """A server in a thread of this process, at ports that were free."""

    def __init__(self, base, **options):
        self.loop = asyncio.new_event_loop()
        self.server = ModelServer(str(base), "tiny", **options)
        self.running = RunningServer(
            self.server, rest_port=0, grpc_port=0, poll_seconds=0.05
        )
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.run(self.running.start())
        self.rest = self.running.rest_address
        self.grpc = self.running.grpc_address.removeprefix("grpc://")

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def stop(self):
        self.run(self.running.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


LIMITS = Limits(request_megabytes=1.0, rows=8, text_bytes=5000, body_seconds=0.5)


@pytest.fixture(scope="session")
def export(tmp_path_factory):
    base = tmp_path_factory.mktemp("export")
    write_export(base, 1)
    return base


@pytest.fixture(scope="session")
def server(export):
    running = ServerThread(export, limits=LIMITS, max_batch_size=4)
    yield running
    running.stop()
