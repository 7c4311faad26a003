"""A server to measure, as a process of its own: the service on an installation's folder, or what does nothing.

    python -m tests.bench.http_server CORE service FOLDER
    python -m tests.bench.http_server CORE bare|asgi BODIES_FILE

`bare` has FastAPI's routes for the same paths, `asgi` nothing but a function; both answer with the lines of the file in
turn. Prints its port when it listens; ends when its standard input does. All are served in the same way: uvicorn with
uvloop and httptools, one process, one core.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from aggregator.api.errors import FHIR_JSON
from aggregator.app import open_service
from aggregator.application import create_app
from tests.bench.installation import settings


def bare(bodies: Sequence[bytes]) -> FastAPI:
    """FastAPI routes for the same paths, which serve these bytes and do nothing else."""
    app, turn = FastAPI(), cycle(bodies)

    async def search(resource_type: str) -> Response:
        return _bytes(next(turn), resource_type)

    async def read(resource_type: str, whole_id: str) -> Response:
        return _bytes(next(turn), resource_type, whole_id)

    async def operation(resource_type: str, whole_id: str, name: str) -> Response:
        return _bytes(next(turn), resource_type, whole_id, name)

    app.add_api_route("/fhir/{resource_type}", search, methods=["GET"])
    app.add_api_route("/fhir/{resource_type}/{whole_id}", read, methods=["GET"])
    app.add_api_route("/fhir/{resource_type}/{whole_id}/{name}", operation, methods=["GET"])
    return app


def _bytes(body: bytes, *_: str) -> Response:
    return Response(body, media_type=FHIR_JSON)


def asgi(bodies: Sequence[bytes]) -> ASGIApp:
    """The same bytes without any framework."""
    turn = cycle(bodies)

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] == "http":
            body = next(turn)
            headers = [(b"content-type", FHIR_JSON.encode()), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return app


def main(core: int, kind: str, path: Path) -> None:
    """Serve until standard input ends."""
    os.sched_setaffinity(0, {core})
    app = (
        create_app(open_service(settings(path)))
        if kind == "service"
        else _NOTHING[kind](path.read_bytes().split(b"\n"))
    )
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        lifespan="on" if kind == "service" else "off",
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
    server = uvicorn.Server(config)
    threading.Thread(target=_stop_with_input, args=(server,), daemon=True).start()
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    server.run(sockets=[listening])


_NOTHING: Mapping[str, Callable[[Sequence[bytes]], ASGIApp]] = {"bare": bare, "asgi": asgi}


def _stop_with_input(server: uvicorn.Server) -> None:
    sys.stdin.read()
    server.should_exit = True


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
