"""A clinic on a real socket, with a clock that stands still until it is moved and is not UTC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx

from aggregator.demo.clinic import Clinic
from aggregator.demo.fhir_server.server import FhirServer
from aggregator.demo.server import serve
from fhir_profiles.text import Resource, loads

FOLDER = Path(__file__).parent / "clinic"
OPERATOR = "operator-token"
PORT = "http://clinic"  # stands for the address of this run's server in what is compared


class Clock:
    """Stands still, at an hour at which it is still the day before in UTC."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 2, 0, 0, 250_700, tzinfo=timezone(timedelta(hours=5, minutes=30)))

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A running server. Requests speak as its operator unless they are given another token."""

    clock: Clock
    server: FhirServer
    client: httpx.Client

    def ask(self, method: str, path: str, token: str = OPERATOR, **more: Any) -> httpx.Response:
        """One request."""
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)

    def get(self, path: str, token: str = OPERATOR) -> Any:
        """What a GET brings, with the address of this run replaced."""
        return self.plain(self.ask("GET", path, token))

    def plain(self, response: httpx.Response) -> Any:
        """The body as JSON, with the address of this run replaced."""
        return loads(response.text.replace(str(self.client.base_url).rstrip("/"), PORT))

    def pages(self, path: str, token: str = OPERATOR) -> list[Any]:
        """All pages of a search or history, by its next links."""
        found = [self.get(path, token)]
        while link := next((link["url"] for link in found[-1]["link"] if link["relation"] == "next"), None):
            found.append(self.get(link.removeprefix(PORT), token))
        return found


@contextmanager
def running(server: FhirServer | None = None, clock: Clock | None = None) -> Iterator[World]:
    """Serve a clinic (or the server given)."""
    clock = clock or Clock()
    server = server or Clinic(clock)
    server.access.allow(OPERATOR, None)
    with serve(server.app()) as up, httpx.Client(base_url=up.url) as client:
        yield World(clock=clock, server=server, client=client)


def bundle(name: str) -> Resource:
    """A Bundle of the folder clinic/."""
    resource: Resource = loads((FOLDER / f"{name}.json").read_bytes())
    return resource


def expected(name: str) -> Any:
    """A golden file of the folder clinic/."""
    return loads((FOLDER / "expected" / f"{name}.json").read_bytes())


def loaded_clinic(clock: Clock | None = None) -> Clinic:
    """A clinic that was given both Bundles before it was served."""
    clinic = Clinic(clock or Clock())
    clinic.load(bundle("directory"), "directory.json")
    clinic.load(bundle("patient"), "patient.json")
    return clinic
