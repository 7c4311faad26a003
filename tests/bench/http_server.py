"""A server to measure, as a process of its own: the service on an installation's folder, or one bare route.

    python -m tests.bench.http_server CORE service FOLDER
    python -m tests.bench.http_server CORE bare BODY_FILE

Prints its port when it listens; ends when its standard input does. Both are served in the same way: uvicorn with
uvloop and httptools, one process, one core.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.responses import Response

from aggregator.api.application import create_app
from aggregator.api.errors import FHIR_JSON
from aggregator.app import open_service
from tests.bench.installation import settings


def bare(body: bytes) -> FastAPI:
    """FastAPI routes for the same paths, which serve these bytes and do nothing else."""
    app = FastAPI()

    async def search(resource_type: str) -> Response:
        return _bytes(body, resource_type)

    async def read(resource_type: str, whole_id: str) -> Response:
        return _bytes(body, resource_type, whole_id)

    app.add_api_route("/fhir/{resource_type}", search, methods=["GET"])
    app.add_api_route("/fhir/{resource_type}/{whole_id}", read, methods=["GET"])
    return app


def _bytes(body: bytes, *_: str) -> Response:
    return Response(body, media_type=FHIR_JSON)


def main(core: int, kind: str, path: Path) -> None:
    """Serve until standard input ends."""
    os.sched_setaffinity(0, {core})
    app = bare(path.read_bytes()) if kind == "bare" else create_app(open_service(settings(path)))
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="warning")
    server = uvicorn.Server(config)
    threading.Thread(target=_stop_with_input, args=(server,), daemon=True).start()
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    server.run(sockets=[listening])


def _stop_with_input(server: uvicorn.Server) -> None:
    sys.stdin.read()
    server.should_exit = True


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
