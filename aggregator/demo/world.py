"""The demo world, up and running: sources and service on loopback, patients and providers signed in, all synced.

The way through it is the product's own: every step that a person does goes over HTTP, every source speaks its protocol.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from joserfc.jwk import ECKey

from aggregator.api.service import Service
from aggregator.application import create_app
from aggregator.config import Config, load
from aggregator.demo import data_folder
from aggregator.demo.data_folder import DataFolder
from aggregator.demo.door import Door, new_client
from aggregator.demo.home import Home, write_secret
from aggregator.demo.residents import MovingIn, SignedIn, residents
from aggregator.demo.server import listen, serve
from aggregator.demo.settings import Provider, providers, write_config
from aggregator.demo.sources import Sources
from aggregator.errors import OperatorError
from aggregator.sync.run import Outcome
from aggregator.sync.schedule import Observe, sync
from connectors.contract import Clock, utc_now

_HOST = "127.0.0.1"
OpenService = Callable[[Config, Clock], Service]
"""The composition root, which lies above the demo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The world before anybody moves in."""

    home: Home
    sources: Sources
    data: DataFolder | None
    service: Service
    keys: dict[str, ECKey]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedInProvider:
    """A provider with an access token."""

    provider: Provider
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The world after the main job. outcomes: how each connection's run ended; seconds: the syncs' own time."""

    served: Served
    patients: list[SignedIn]
    providers: list[SignedInProvider]
    outcomes: list[Outcome]
    seconds: float

    @property
    def base_url(self) -> str:
        return self.served.service.base_url

    def addresses(self) -> dict[str, Any]:
        """What demo.json tells: where everything is, and how to sign in."""
        return {
            "base_url": self.base_url,
            "portal_url": f"{self.base_url}/app",
            "patients": [
                {
                    "id": one.id,
                    "name": one.resident.name,
                    "login": one.login,
                    "password": one.password,
                    "token": one.token,
                }
                for one in self.patients
            ],
            "providers": [
                {
                    "name": one.provider.name,
                    "client_id": one.provider.client_id,
                    "private_key_file": str(self.served.home.private_key_file(one.provider.client_id)),
                    "token_url": f"{self.base_url}/auth/token",
                    "token": one.token,
                }
                for one in self.providers
            ],
        }

    def write_addresses(self, file: Path) -> None:
        """Write demo.json, for its owner alone: it holds passwords. Raises OperatorError."""
        try:
            write_secret(file, orjson.dumps(self.addresses(), option=orjson.OPT_INDENT_2))
        except OSError:
            raise OperatorError(
                f"{file.name} cannot be written here; start the demo in a folder you may write"
            ) from None


@contextmanager
def serving(
    path: Path, data: Path | None, port: int, open_service: OpenService, clock: Clock = utc_now
) -> Iterator[Served]:
    """Sources and service, served until the end of the context. Raises OperatorError, KeysMissing."""
    home = Home.open(path)
    with _port(port) as listener:
        keys = {one.client_id: home.client_key(one.client_id) for one in providers()}
        sources = Sources.load(home.sources, clock)
        folder = data_folder.take(data, sources.clinic) if data else None
        with sources.serving() as rows:
            port = listener.getsockname()[1]
            write_config(home, rows, f"http://{_HOST}:{port}", port)
            service = open_service(load(home.config), clock)
            try:
                with serve(create_app(service), listener=listener):
                    yield Served(home=home, sources=sources, data=folder, service=service, keys=keys)
            finally:
                service.close()


@contextmanager
def _port(port: int) -> Iterator[socket.socket]:
    try:
        listener = listen(_HOST, port)
    except OSError as error:
        problem = os.strerror(error.errno or 0)
        raise OperatorError(f"port {port}: {problem}; choose another one with --port (0 takes a free one)") from None
    with listener:
        yield listener


async def main_job(served: Served, moved_in: Callable[[int, int], None], observe: Observe | None = None) -> World:
    """Everybody moves in, every source is synced, the providers sign in. Raises AggregatorError.

    moved_in: called with (patients done, patients in all).
    """
    service = served.service
    everybody = residents(served.data)
    async with new_client() as client:
        door = Door(client, service.base_url)
        moving = MovingIn(service=service, door=door, home=served.home, sources=served.sources)
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            moved_in(done, len(everybody))

        patients = await moving.all(everybody, tick)
        started = time.perf_counter()
        shown = _named(patients, observe) if observe else None
        outcomes = await sync(service.worker, at_once=service.config.sync.at_once, observe=shown)
        seconds = time.perf_counter() - started
        signed_in = [
            SignedInProvider(
                provider=one,
                token=await door.client_token(one.client_id, served.keys[one.client_id], service.clock()),
            )
            for one in providers()
        ]
    return World(served=served, patients=patients, providers=signed_in, outcomes=outcomes, seconds=seconds)


def _named(patients: list[SignedIn], observe: Observe) -> Observe:
    """What is synced by the name that the outcome gives it."""
    names = {
        connection: f"{authority}/{one.resident.short}"
        for one in patients
        for connection, authority in one.connections.items()
    }
    return lambda name, done, total: observe(names.get(name, name), done, total)
