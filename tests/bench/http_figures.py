"""Search and read over HTTP, with token, grant and durable receipt, beside a bare route that serves the same bytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx
import orjson

from tests.bench.figure import Figure, cores
from tests.bench.installation import Installation
from tests.bench.vault_figures import QUERY

CONNECTIONS = (1, 8, 32)


@dataclass(frozen=True)
class Question:
    """A GET that is asked again and again."""

    name: str
    path: str
    token: str

    def request(self) -> bytes:
        """The whole request."""
        head = f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.token}\r\n"
        return f"{head}Accept: application/fhir+json\r\n\r\n".encode()

    def body(self, port: int) -> bytes:
        """The answer's body. Raises httpx.HTTPStatusError."""
        answer = httpx.get(f"http://127.0.0.1:{port}{self.path}", headers={"Authorization": f"Bearer {self.token}"})
        return answer.raise_for_status().content


def over_http(installation: Installation, seconds: float, rounds: int) -> Iterator[Figure]:
    """The best of several rounds, the two servers in turn, so that both meet the same machine."""
    with _server("service", installation.folder) as port:
        for question in _questions(installation, port):
            file = installation.folder / "body.json"
            file.write_bytes(question.body(port))
            with _server("bare", file) as bare:
                yield from _compared(question, port, bare, seconds, rounds)


def _questions(installation: Installation, port: int) -> list[Question]:
    """A page of twenty, those of one day among them, and one resource by its id."""
    token, owner = installation.sign_in(), installation.owner
    pairs = [("patient", f"{owner.vault}.{owner.patient}"), *QUERY]
    page = Question("search (page of 20)", f"/fhir/Observation?{urlencode(pairs)}", token)
    one = orjson.loads(page.body(port))["entry"][0]["resource"]
    day = [*pairs, ("date", one["effectiveDateTime"][:10])]
    return [
        page,
        Question("search (of one day)", f"/fhir/Observation?{urlencode(day)}", token),
        Question("read", f"/fhir/Observation/{one['id']}", token),
    ]


def _compared(question: Question, port: int, bare: int, seconds: float, rounds: int) -> Iterator[Figure]:
    for connections in CONNECTIONS:
        told = [
            (_load(question, port, connections, seconds), _load(question, bare, connections, seconds))
            for _ in range(rounds)
        ]
        best, reference = max(ours["rate"] for ours, _ in told), max(theirs["rate"] for _, theirs in told)
        name = f"{question.name} over HTTP, {connections} connection{'s' * (connections > 1)}"
        yield Figure(
            name=name, value=best, unit="requests/s", better="higher", target=reference / 2, reference=reference
        )
        for kind in ("median", "p99"):
            ours, theirs = (min(one[kind] for one in column) * 1e3 for column in zip(*told, strict=True))
            yield Figure(name=f"{name}, {kind}", value=ours, unit="ms", better="lower", reference=theirs)


def _load(question: Question, port: int, connections: int, seconds: float) -> dict[str, float]:
    _, core = cores()
    command = [sys.executable, "-m", "tests.bench.http_load", *map(str, (core, port, connections, seconds))]
    made = subprocess.run(command, input=question.request(), capture_output=True, check=False)
    if made.returncode:
        raise RuntimeError(f"the load generator failed: {made.stderr.decode().strip().splitlines()[-1]}")
    told: dict[str, float] = orjson.loads(made.stdout)
    return told


@contextmanager
def _server(kind: str, path: Path) -> Iterator[int]:
    """A server in its own process on the core under test; its port."""
    core, _ = cores()
    command = [sys.executable, "-m", "tests.bench.http_server", str(core), kind, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
