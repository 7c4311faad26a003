"""A feed that keeps nothing: a queue behind a loopback socket, which drops a message once it was acknowledged.

Each line is a person's report as JSON. The connector acknowledges when its batch is stored: when `pull` goes on.
"""

from __future__ import annotations

import asyncio
import json
import socketserver
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from aggregator.config import SourceSettings
from aggregator.consent.mandate import Person
from aggregator.sync.registry import Source
from connectors.contract import Batch, ConnectorSpec, Cursor, Kind, Settings
from tests.sync.sync_world import found, observation, patient


class QueueSettings(Settings):
    port: int


@dataclass
class Queue:
    """The queue's server side."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    def brings(self, who: Person, name: str, value: int = 7) -> None:
        """One more message: the person and a result."""
        self.messages.append({"who": asdict(who), "name": name, "value": value})

    def source(self, level: str = "substantial") -> Source:
        """The feed "labor", speaking to this queue."""
        told: dict[str, Any] = {"connector": "queue", "settings": {"port": self.port}, "identity_level": level}
        return Source("labor", SourceSettings(**told), SPEC)


class QueueConnector:
    def __init__(self, settings: QueueSettings, _client: object, _clock: object) -> None:
        self._port = settings.port

    async def check(self) -> None:
        """Nothing to prove."""

    async def pull(self, _cursor: Cursor | None) -> AsyncIterator[Batch]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while line := await reader.readline():
                told = json.loads(line)
                who, name = Person(**told["who"]), told["name"]
                result = observation(f"o-{name}", told["value"], f"Patient/{name}")
                yield Batch((found(patient(who, name), who), found(result, who)))
                writer.write(b"stored\n")  # only now: what is not stored comes again
                await writer.drain()
        finally:
            writer.close()


SPEC = ConnectorSpec(
    name="queue",
    version="1",
    title="A queue",
    config=QueueSettings,
    connect=QueueConnector,
    kind=Kind.FEED,
    resource_types=("Patient", "Observation"),
    incremental=True,
    reports_deletions=False,
    min_interval=timedelta(minutes=1),
    keeps=False,
)


@contextmanager
def serving(queue: Queue) -> Iterator[Queue]:
    """The queue on a free port of the loopback, until the end of the context."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while queue.messages:
                self.wfile.write(json.dumps(queue.messages[0]).encode() + b"\n")
                if self.rfile.readline() != b"stored\n":
                    return
                queue.messages.pop(0)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        queue.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield queue
        finally:
            server.shutdown()
            thread.join()
