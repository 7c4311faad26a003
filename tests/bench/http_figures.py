"""Search, read and everything over HTTP, with token, grant and durable receipt, beside a bare route of the same bytes.

And beside a bare ASGI function, which shows what the server and the socket alone cost.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import httpx
import orjson

from tests.bench.figure import Figure, cores
from tests.bench.installation import Installation
from tests.bench.vault_figures import QUERY

CONNECTIONS = (1, 8, 32)


@dataclass(frozen=True)
class Question:
    """GETs that are asked in turn, again and again. share: of the bare route's rate that is asked for."""

    name: str
    share: float
    paths: tuple[str, ...]
    token: str

    def requests(self) -> bytes:
        """The whole requests."""
        more = f"Host: 127.0.0.1\r\nAuthorization: Bearer {self.token}\r\nAccept: application/fhir+json\r\n\r\n"
        return "".join(f"GET {path} HTTP/1.1\r\n{more}" for path in self.paths).encode()

    def bodies(self, port: int) -> list[bytes]:
        """The answers' bodies, each one line. Raises httpx.HTTPStatusError."""
        known = {"Authorization": f"Bearer {self.token}"}
        answers = [httpx.get(f"http://127.0.0.1:{port}{path}", headers=known) for path in self.paths]
        return [answer.raise_for_status().content for answer in answers]


def over_http(installation: Installation, seconds: float, rounds: int) -> Iterator[Figure]:
    """The best of several rounds, the servers in turn, so that all meet the same machine."""
    with served("service", installation.folder) as service:
        for question in _questions(installation, service.port):
            file = installation.folder / "bodies.ndjson"
            file.write_bytes(b"\n".join(question.bodies(service.port)))
            with served("bare", file) as bare, served("asgi", file) as asgi:
                ports = {"service": service.port, "bare": bare.port, "asgi": asgi.port}
                yield from _compared(question, ports, seconds, rounds)


def _questions(installation: Installation, port: int) -> list[Question]:
    """A token, a date, a string and a reference in turn; the first alone, a full page; one resource by its id; and the
    pages of everything in turn."""
    token, owner = installation.sign_in(), installation.owner
    of_patient, twenty = ("patient", f"{owner.vault}.{owner.patient}"), ("_count", "20")
    first = _path("Observation", of_patient, *QUERY)
    (page,) = Question("", 0, (first,), token).bodies(port)
    one = orjson.loads(page)["entry"][0]["resource"]
    refers = "encounter" if "encounter" in one else "subject"
    mix = (
        first,
        _path("Observation", of_patient, ("date", "ge2018"), twenty),
        _path("Practitioner", ("family", "w"), twenty),
        _path("Observation", of_patient, (refers, one[refers]["reference"]), twenty),
    )
    return [
        Question("search (mix)", 0.7, mix, token),
        Question("search (page of 20)", 0.7, (first,), token),
        Question("read", 0.75, (f"/fhir/Observation/{one['id']}",), token),
        Question("$everything", 0.6, tuple(_pages(port, token, f"/fhir/Patient/{of_patient[1]}/$everything")), token),
    ]


def _pages(port: int, token: str, path: str) -> Iterator[str]:
    """The path with the largest pages there are, and where each next one is read."""
    path = f"{path}?_count=500"
    while path:
        yield path
        (page,) = Question("", 0, (path,), token).bodies(port)
        links = orjson.loads(page)["link"]
        path = next((httpx.URL(one["url"]).raw_path.decode() for one in links if one["relation"] == "next"), "")


def _path(resource_type: str, *pairs: tuple[str, str]) -> str:
    return f"/fhir/{resource_type}?{urlencode(pairs)}"


def _compared(question: Question, ports: Mapping[str, int], seconds: float, rounds: int) -> Iterator[Figure]:
    for connections in CONNECTIONS:
        told = [
            {kind: _load(question, port, connections, seconds) for kind, port in ports.items()} for _ in range(rounds)
        ]
        rate = {kind: max(one[kind]["rate"] for one in told) for kind in ports}
        name = f"{question.name} over HTTP, {connections} connection{'s' * (connections > 1)}"
        yield _rate(name, rate["service"], question.share * rate["bare"], rate["bare"])
        yield _rate(f"{name}, bare ASGI", rate["asgi"], None, rate["bare"])
        for kind in ("median", "p99"):
            ours, theirs = (min(one[server][kind] for one in told) * 1e3 for server in ("service", "bare"))
            most = 3 * theirs if (kind, connections) == ("p99", 8) else None
            yield Figure(name=f"{name}, {kind}", value=ours, unit="ms", better="lower", target=most, reference=theirs)


def _rate(name: str, value: float, target: float | None, reference: float) -> Figure:
    return Figure(name=name, value=value, unit="requests/s", better="higher", target=target, reference=reference)


def _load(question: Question, port: int, connections: int, seconds: float) -> dict[str, float]:
    _, core = cores()
    command = [sys.executable, "-m", "tests.bench.http_load", *map(str, (core, port, connections, seconds))]
    made = subprocess.run(command, input=question.requests(), capture_output=True, check=False)
    if made.returncode:
        raise RuntimeError(f"the load generator failed: {made.stderr.decode().strip().splitlines()[-1]}")
    told: dict[str, float] = orjson.loads(made.stdout)
    return told


class Served(NamedTuple):
    """A server in its own process on the core under test."""

    port: int
    process: int


@contextmanager
def served(kind: str, path: Path) -> Iterator[Served]:
    """http_server.py's `kind` of server, for as long as it is wanted."""
    core, _ = cores()
    command = [sys.executable, "-m", "tests.bench.http_server", str(core), kind, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Served(int(process.stdout.readline()), process.pid)
        finally:
            process.stdin.close()
