"""`aggregator serve`: the service on its configured address, with the schedule in the background."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from types import FrameType
from typing import NoReturn

import typer
import uvicorn

from aggregator.api.service import Service
from aggregator.application import create_app
from aggregator.bounded_head import BoundedHead
from aggregator.commands.common import note, opened
from aggregator.config import HttpSettings
from aggregator.errors import OperatorError
from aggregator.sync.schedule import Schedule


def serve(context: typer.Context) -> None:
    """Serve the configured installation and pull its sources at their intervals, until Ctrl-C.

    Example: aggregator --config /etc/aggregator/config.toml serve
    """
    with opened(context) as service, _listen(service.config.http) as listener:
        settings = service.config.sync
        schedule = Schedule(service.worker, settings.tick_seconds, settings.jitter_percent, settings.at_once)
        schedule.start()
        try:
            note.print(f"serving at {service.base_url}", markup=False)
            _serve(service, listener)
        finally:
            schedule.stop()


def _serve(service: Service, listener: socket.socket) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(service),
            loop="uvloop",
            http=BoundedHead,
            log_level="warning",
            access_log=False,  # a URL may name a patient
            server_header=False,
            proxy_headers=False,  # whose word counts is http.trusted_proxies' to say
        )
    )
    # uvicorn ends its answers and then sends itself the signal that it was sent.
    signal.signal(signal.SIGTERM, _end)
    with suppress(KeyboardInterrupt):
        server.run([listener])


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _listen(http: HttpSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        return socket.create_server((http.host, http.port), family=family)
    except OSError as error:
        problem = os.strerror(error.errno or 0)  # socket's own text repeats the address
        raise OperatorError(
            f"http.port: {http.host}:{http.port}: {problem}; end what listens there, or set http.host and http.port"
        ) from None
