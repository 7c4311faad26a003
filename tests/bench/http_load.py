"""Loads a server with requests in turn, as a process of its own: raw sockets, kept alive, no HTTP library.

    python -m tests.bench.http_load CORE PORT CONNECTIONS SECONDS < REQUESTS

REQUESTS are whole GETs, one behind the other. Each connection begins with another of them, and sends its next one when
the last one's answer is there. Every answer must be 200, and there are no more lengths than requests. Prints one JSON
object: {"rate": answers a second, "median", "p99": seconds}.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass, field
from itertools import cycle
from typing import cast

import orjson
import uvloop

from tests.bench.figure import late, middle

_END = b"\r\n\r\n"
_PATIENCE = 30.0  # seconds that the last answer may take


class WrongAnswer(RuntimeError):
    """An answer is not 200, or of a length that none of the first ones had."""


@dataclass
class Load:
    """What all connections share. times: seconds of each answer."""

    requests: list[bytes]
    end: float
    done: asyncio.Event
    lengths: set[int] = field(default_factory=set)
    open: int = 0
    wrong: str = ""
    times: list[float] = field(default_factory=list)


class _Client(asyncio.Protocol):
    def __init__(self, load: Load) -> None:
        self._load = load
        self._turn = cycle(load.requests)
        self._got = bytearray()
        self._expected = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base class
        for _ in range(self._load.open % len(self._load.requests)):
            next(self._turn)
        self._load.open += 1
        self._send()

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._expected and (head := self._got.find(_END)) >= 0:
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
        self._transport.write(next(self._turn))

    def _answered(self) -> None:
        now = time.perf_counter()
        self._load.times.append(now - self._start)
        self._load.lengths.add(self._expected)
        if not self._got.startswith(b"HTTP/1.1 200 ") or len(self._load.lengths) > len(self._load.requests):
            self._load.wrong = f"{self._got[:12].decode('latin-1')} of {self._expected} bytes"
        if now >= self._load.end or self._load.wrong:
            self._got.clear()
            self._transport.close()
        else:
            self._send()


def _each(requests: bytes) -> list[bytes]:
    return [head + _END for head in requests.split(_END) if head]


def _length(head: bytes) -> int:
    """What Content-Length says; 0 where it is not there."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def load(port: int, connections: int, seconds: float, requests: bytes) -> dict[str, float]:
    """Load 127.0.0.1:port. Raises WrongAnswer."""
    end = time.perf_counter() + seconds
    shared = Load(_each(requests), end, asyncio.Event())
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
