"""An installation that one process has open, as `aggregator serve` has, and is asked over HTTP without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import orjson
from joserfc.jwk import ECKey
from starlette.types import ASGIApp

from aggregator.api.service import Service
from aggregator.app import open_service
from aggregator.application import create_app
from aggregator.config import BlobSettings, ClientSettings, Config, IdentifierSettings, KeySettings, StoreSettings
from aggregator.errors import OperatorError
from aggregator.sync.connect import Connections
from aggregator.sync.run import FRESH, UNEXPECTED
from aggregator.sync.schedule import sync
from connectors.contract import Batch, Cursor
from tests.api.http_world import PARTIES, HttpWorld
from tests.sync.sync_world import Script, Scripted
from tests.vault.source import without_tls
from tests.vault.world import START, FrozenClock

LEASE = 31
"""Minutes after which nothing is held any more by a process that died."""
PASSWORD, NEW_PASSWORD = "Korrekt Pferd Batterie", "Ganz neues langes Wort"
LOGIN = "erika"

Facts = dict[str, Any]


@dataclass(frozen=True)
class Home:
    """Where an installation lies. folder: its key ring's and SQLite's."""

    folder: Path
    store: StoreSettings

    @property
    def paper(self) -> Path:
        """Where the patients have their recovery codes: not in the installation, and no fault of its disk's."""
        return Path(f"{self.folder}.codes")

    def config(self) -> Config:
        client = ClientSettings(
            name="praxis",
            jwks_file=self.folder / "praxis.jwks",
            identifiers=[IdentifierSettings(system=PARTIES, value="praxis")],
            purposes=["TREAT"],
        )
        return Config(
            store=self.store,
            keys=KeySettings(folder=self.folder / "keys"),
            blobs=BlobSettings(url=str(self.folder / "blobs")),
            clients={"praxis": client},
        )


class InProcess:
    """Requests to the application in this process: no socket, one event loop, which stands still in between."""

    def __init__(self, app: ASGIApp) -> None:
        self._runner = asyncio.Runner()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://aggregator.test", timeout=60)

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **more))

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.request("POST", path, **more)

    def close(self) -> None:
        self._runner.close()


class Clinic(Script):
    """A source that has published these batches, and goes on behind the cursor that it is given."""

    batches: Sequence[Batch] = ()

    async def pull(self, cursor: Cursor | None) -> AsyncIterator[Batch]:
        for one in self.batches[int(cursor or 0) :]:
            await asyncio.sleep(0)
            yield one


@dataclass
class Living:
    """The installation, opened by one process."""

    home: Home
    clock: FrozenClock
    codes: dict[str, str]
    clinic: Clinic = field(default_factory=Clinic)
    service: Service = field(init=False)
    world: HttpWorld = field(init=False)
    _http: InProcess | None = None

    def start(self) -> None:
        """Where it does not run already."""
        if self._http is not None:
            return
        key = ECKey.import_key(orjson.loads((self.home.folder / "praxis.key").read_bytes()))
        service = open_service(self.home.config(), self.clock)
        registry = Scripted(self.clinic.source("klinik"))
        worker = replace(service.worker, registry=registry, client=without_tls)
        self.service = replace(service, registry=registry, worker=worker, connections=Connections(worker))
        self._http = InProcess(create_app(self.service))
        self.world = HttpWorld(self.service, cast(Any, None), self.clock, cast(Any, self._http), {"praxis": key})

    def stop(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None
            self.service.close()

    def keep_code(self, login: str, code: str) -> None:
        """code: the recovery code; empty where it was shown to nobody."""
        self.codes[login] = code
        self.home.paper.write_bytes(orjson.dumps(self.codes))

    def sign_in(self, login: str = LOGIN, *passwords: str) -> str | None:
        """The first of these passwords that opens the account."""
        for password in passwords or (PASSWORD, NEW_PASSWORD):
            answer = self.world.http.post("/auth/sign-in", json={"login": login, "password": password})
            if answer.status_code == 200:
                self.world.owners[login] = answer.json()["token"]
                self.world.patients[login] = answer.json()["patient"]
                return password
            if answer.status_code >= 500:
                raise failure(answer.status_code)
            self.clock.advance(minutes=1)  # after a few refused tries one waits so long
        return None

    def owner(self) -> dict[str, str]:
        if LOGIN not in self.world.owners:
            assert self.sign_in()
        return self.world.owner(LOGIN)

    def patient(self) -> str:
        """The whole id of Erika's Patient."""
        self.owner()
        return self.world.patients[LOGIN]

    def later(self) -> None:
        """A sync's lease that could not be given back has run out, and so have the sessions."""
        self.clock.advance(minutes=LEASE)
        self.world.owners.clear()

    def get(self, path: str) -> Any:
        """What the owner is answered; a failure is the disk's, for that is the only thing that is wrong here."""
        return told(self.request("GET", path)).json()

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """The owner's."""
        return self.world.http.request(method, path, json=body, headers=self.owner())

    def connections(self) -> list[str]:
        return [one["id"] for one in self.get("/app/connections")["connections"]]

    def pull(self, batches: Sequence[Batch]) -> None:
        self.clinic.batches = batches
        (outcome,) = asyncio.run(sync(self.service.worker))
        if outcome.status != FRESH:
            raise OSError(outcome.error) if outcome.error == UNEXPECTED else OperatorError(outcome.error)

    def consents(self) -> list[dict[str, Any]]:
        return [entry["resource"] for entry in self.get("/fhir/Consent").get("entry", [])]


def failure(status: int) -> Exception:
    """What a status tells of a disk that failed: an operator's business, or nothing at all."""
    return OperatorError(f"answered {status}") if status in (503, 507) else OSError(status)


def told(answer: httpx.Response) -> httpx.Response:
    """A right answer, or `failure`."""
    if answer.status_code >= 500:
        raise failure(answer.status_code)
    assert answer.status_code < 400, answer.text
    return answer


@contextmanager
def living(home: Home, generation: int) -> Iterator[Living]:
    """Start as `aggregator serve` does. generation: how many leases ago the story began.

    Who lived before holds nothing any more.
    """
    codes = orjson.loads(home.paper.read_bytes()) if home.paper.exists() else {}
    life = Living(home, FrozenClock(START + timedelta(minutes=LEASE * generation)), codes)
    life.start()
    try:
        yield life
    finally:
        life.stop()
