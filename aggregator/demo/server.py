"""Serves an ASGI application on loopback, in a thread of its own."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from email.utils import formatdate
from types import TracebackType

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aggregator.bounded_head import BoundedHead

_STOP_SECONDS = 5


class Running:
    """A server that is up. `url` is "http://host:port"; `stop()` may be called twice; works as a context manager."""

    def __init__(self, server: uvicorn.Server, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        self.url = f"http://{host}:{port}"
        self._server = server
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name=f"serve-{port}", daemon=True)

    def start(self) -> Running:
        """Return when the first request can come. Raises RuntimeError where the application does not start."""
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                self.stop()
                raise RuntimeError("the application did not start")
            time.sleep(0.002)
        return self

    def _run(self) -> None:
        with suppress(SystemExit):  # uvicorn's way to say that the application did not start
            self._server.run([self._listener])

    def stop(self) -> None:
        """End open connections and the thread, free the port."""
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._listener.close()

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A port, held before the application that will answer on it exists. Port 0 takes a free one. Raises OSError."""
    return socket.create_server((host, port))


def serve(app: ASGIApp, *, port: int = 0, listener: socket.socket | None = None) -> Running:
    """Serve until stopped, on loopback or where the listener is. Raises OSError where the port is in use."""
    listener = listener or listen(port=port)
    config = uvicorn.Config(
        _dated(app),
        http=BoundedHead,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        date_header=False,  # a server with a clock of its own (the demo's, the tests') says its own Date
        timeout_graceful_shutdown=1,
    )
    return Running(uvicorn.Server(config), listener).start()


def _dated(app: ASGIApp) -> ASGIApp:
    """Every answer carries a Date (RFC 9110, 6.6.1): the application's or else this machine's."""

    async def dated(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and not _has_date(message):
                now = formatdate(usegmt=True).encode()
                message = {**message, "headers": [*message.get("headers", ()), (b"date", now)]}
            await send(message)

        await app(scope, receive, sending)

    return dated


def _has_date(message: Message) -> bool:
    return any(name.lower() == b"date" for name, _ in message.get("headers", ()))
