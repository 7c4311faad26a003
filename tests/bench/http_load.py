"""Loads a server with one request again and again, as a process of its own: raw sockets, kept alive, no HTTP library.

    python -m tests.bench.http_load CORE PORT CONNECTIONS SECONDS < REQUEST

REQUEST is the whole request as bytes. Each connection sends it again when its answer is there; every answer must be
200 and as long as the first. Prints one JSON object: {"rate": answers a second, "median", "p99": seconds}.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass, field
from typing import cast

import orjson
import uvloop

from tests.bench.figure import late, middle

_PATIENCE = 30.0  # seconds that the last answer may take


class WrongAnswer(RuntimeError):
    """An answer is not 200, or of another length than the first."""


@dataclass
class Load:
    """What all connections share. times: seconds of each answer."""

    request: bytes
    end: float
    done: asyncio.Event
    length: int = 0
    open: int = 0
    wrong: str = ""
    times: list[float] = field(default_factory=list)


class _Client(asyncio.Protocol):
    def __init__(self, load: Load) -> None:
        self._load = load
        self._got = bytearray()
        self._expected = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base class
        self._load.open += 1
        self._send()

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._expected and (head := self._got.find(b"\r\n\r\n")) >= 0:
            self._expected = head + 4 + _length(bytes(self._got[:head]))
        if self._expected and len(self._got) >= self._expected:
            self._answered()

    def connection_lost(self, _: Exception | None) -> None:
        self._load.open -= 1
        if self._got or time.perf_counter() < self._load.end:
            self._load.wrong = self._load.wrong or "the server closed the connection"
        if not self._load.open or self._load.wrong:
            self._load.done.set()

    def _send(self) -> None:
        self._got.clear()
        self._expected = 0
        self._start = time.perf_counter()
        self._transport.write(self._load.request)

    def _answered(self) -> None:
        now = time.perf_counter()
        self._load.times.append(now - self._start)
        self._load.length = self._load.length or self._expected
        if not self._got.startswith(b"HTTP/1.1 200 ") or self._expected != self._load.length:
            self._load.wrong = f"{self._got[:12].decode('latin-1')} of {self._expected} bytes"
        if now >= self._load.end or self._load.wrong:
            self._got.clear()
            self._transport.close()
        else:
            self._send()


def _length(head: bytes) -> int:
    """What Content-Length says; 0 where it is not there."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def load(port: int, connections: int, seconds: float, request: bytes) -> dict[str, float]:
    """Load 127.0.0.1:port. Raises WrongAnswer."""
    end = time.perf_counter() + seconds
    shared = Load(request, end, asyncio.Event())
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: _Client(shared), "127.0.0.1", port)
    async with asyncio.timeout(seconds + _PATIENCE):
        await shared.done.wait()
    took = time.perf_counter() - start
    if shared.wrong:
        raise WrongAnswer(shared.wrong)
    times = sorted(shared.times)
    return {"rate": len(times) / took, "median": middle(times), "p99": late(times)}


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    told = uvloop.run(load(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.stdin.buffer.read()))
    sys.stdout.write(orjson.dumps(told).decode() + "\n")
