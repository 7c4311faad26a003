"""Another server process on an installation that is already served: its own memory, its own held views.

python -m tests.api.second_server CONFIG; prints a line when it answers, ends when its input does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from aggregator.app import open_service
from aggregator.application import create_app
from aggregator.config import Config
from aggregator.demo.server import listen, serve
from tests.vault.world import FrozenClock

ROOT = Path(__file__).parents[2]


@contextmanager
def second_server(config: Config, folder: Path, *, killed: bool = False) -> Iterator[httpx.Client]:
    """A process on this configuration, at a port of its own; a client of it. killed: that is how it ends."""
    with listen() as free:
        port = int(free.getsockname()[1])
    told = folder / f"second-{port}.json"
    base_url = f"http://{config.http.host}:{config.http.port}"
    http = config.http.model_copy(update={"port": port, "base_url": base_url})
    told.write_text(config.model_copy(update={"http": http}).model_dump_json())
    command = [sys.executable, "-m", "tests.api.second_server", str(told)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline() == b"up\n"
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        if killed:
            process.kill()
        process.stdin.close()
        process.wait(timeout=30)
        process.stdout.close()


def main(file: Path) -> None:
    config = Config(**json.loads(file.read_text()))
    service = open_service(config, FrozenClock())
    with serve(create_app(service), port=config.http.port):
        sys.stdout.write("up\n")
        sys.stdout.flush()
        sys.stdin.read()
    service.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
