"""REST and gRPC of one model, from start to stop."""

import asyncio
import contextlib
from typing import Any

import uvicorn

from kmmft.serving.grpc_service import grpc_server
from kmmft.serving.limits import Limits
from kmmft.serving.model_server import ModelServer
from kmmft.serving.rest import rest_app

_GRACE_SECONDS = 30.0


class _Rest(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):
        # They are for the command line to handle, which stops gRPC too.
        yield


class RunningServer:
    """A server at its ports.

    Args:
        server: Answers the requests.
        host: Address to listen at.
        rest_port: Port of REST; 0 for any.
        grpc_port: Port of gRPC; 0 for any, `None` for none.
        poll_seconds: Time between two looks for new versions.
    """

    def __init__(
        self,
        server: ModelServer,
        host: str = "127.0.0.1",
        rest_port: int = 8501,
        grpc_port: int | None = 8500,
        poll_seconds: float = 5.0,
    ):
        self.server = server
        self.host = host
        self.grpc_port = grpc_port
        self.poll_seconds = poll_seconds
        config = uvicorn.Config(
            rest_app(server),
            host=host,
            port=rest_port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=int(_GRACE_SECONDS),
        )
        self._rest = _Rest(config)
        self._grpc: Any = None
        self._task: asyncio.Task | None = None

    @classmethod
    def from_settings(cls, settings: Any) -> "RunningServer":
        """From the settings of the command line."""
        limits = Limits(
            request_megabytes=settings.request_megabytes,
            rows=settings.rows,
            text_bytes=settings.text_bytes,
            waiting_requests=settings.waiting_requests,
        )
        server = ModelServer(
            settings.export_dir,
            settings.name,
            limits,
            settings.max_batch_size,
            settings.workers,
            drift={
                "window": settings.drift_window,
                "threshold": settings.drift_threshold,
                "webhook": settings.drift_webhook,
            },
        )
        return cls(
            server,
            settings.host,
            settings.rest_port,
            settings.grpc_port or None,
            settings.poll_seconds,
        )

    @property
    def rest_address(self) -> str:
        port = self._rest.servers[0].sockets[0].getsockname()[1]
        return f"http://{self.host}:{port}"

    @property
    def grpc_address(self) -> str:
        return f"grpc://{self.host}:{self.grpc_port}" if self._grpc else ""

    async def start(self) -> None:
        """Listens.

        Raises:
            ValueError: If a port is taken.
        """
        self._task = asyncio.create_task(self._listen())
        while not self._rest.started and not self._task.done():
            await asyncio.sleep(0.01)
        if self._task.done():
            await self._task
        if self.grpc_port is not None:
            address = f"{self.host}:{self.grpc_port}"
            try:
                self._grpc, self.grpc_port = grpc_server(self.server, address)
            except RuntimeError as error:
                await self.stop()
                raise ValueError(
                    f"The gRPC port must be free. Received: {address} ({error})."
                ) from error
            await self._grpc.start()
        self.server.versions.watch(self.poll_seconds)

    async def _listen(self) -> None:
        try:
            await self._rest.serve()
        except SystemExit as error:
            raise ValueError(
                "The REST port must be free. Received: "
                f"{self._rest.config.host}:{self._rest.config.port}, which is taken."
            ) from error

    async def stop(self) -> None:
        """Takes no more requests, answers those that wait, and stops."""
        self._rest.should_exit = True
        if self._grpc is not None:
            await self._grpc.stop(_GRACE_SECONDS)
        await self._task
        await self.server.close()
