"""What a patient, a source and a practice do, step by step, over HTTP against a real store and key ring.

Each step says which facts it changes, and through which states. After a fault, what is seen must be the state of the
last acknowledged step, or one that the step under way was to bring: nothing acknowledged is lost, nothing is half made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import orjson
from joserfc.jwk import ECKey
from sqlmodel import select
from starlette.types import ASGIApp

from aggregator.api.application import create_app
from aggregator.api.service import Service
from aggregator.app import open_service
from aggregator.audit import remembered, verify
from aggregator.config import ClientSettings, Config, IdentifierSettings, KeySettings, StoreSettings
from aggregator.sync.connect import Connections
from aggregator.sync.run import FRESH
from aggregator.sync.schedule import sync
from aggregator.vault.tables import GrantIntent, Vault
from connectors.contract import Batch, Cursor
from tests.api.http_world import PARTIES, HttpWorld, consent
from tests.sync.sync_world import Script, Scripted, batch, deleted, found, observation, patient
from tests.vault.world import ERIKA, START, FrozenClock

LEASE = 31
"""Minutes after which nothing is held any more by a process that died."""
PASSWORD, NEW_PASSWORD = "Korrekt Pferd Batterie", "Ganz neues langes Wort"
LOGIN, OTHER_LOGIN = "erika", "berta"
BATCHES = (
    batch(patient(), observation("o1", 1), observation("o2", 2), cursor="1"),
    batch(observation("o3", 3), cursor="2"),
    batch(found(observation("o1", 11)), deleted("Observation/o2"), cursor="3"),
)
AFTER: tuple[list[int], ...] = ([], [1, 2], [1, 2, 3], [3, 11])
"""The values that the record shows after so many batches."""

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
    """A source that has published some of the batches, and goes on behind the cursor that it is given."""

    published = 0

    async def pull(self, cursor: Cursor | None) -> AsyncIterator[Batch]:
        for one in BATCHES[int(cursor or 0) : self.published]:
            await asyncio.sleep(0)
            yield one


@dataclass
class Living:
    """The installation, opened by one process."""

    home: Home
    service: Service
    clinic: Clinic
    world: HttpWorld
    codes: dict[str, str]
    unproven: set[str] = field(default_factory=set)
    """Facts of which nobody can say any more what they must be."""

    def sign_in(self, login: str = LOGIN, *passwords: str) -> str | None:
        """The first of these passwords that opens the account."""
        for password in passwords or (PASSWORD, NEW_PASSWORD):
            answer = self.world.http.post("/auth/sign-in", json={"login": login, "password": password})
            if answer.status_code == 200:
                self.world.owners[login] = answer.json()["token"]
                self.world.patients[login] = answer.json()["patient"]
                return password
            if answer.status_code >= 500:
                raise OSError(answer.status_code)
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
        self.world.clock.advance(minutes=LEASE)
        self.world.owners.clear()

    def get(self, path: str) -> Any:
        """What the owner is answered; a failure is an OSError, for the disk is the only thing that is wrong here."""
        return told(self.request("GET", path)).json()

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """The owner's."""
        return self.world.http.request(method, path, json=body, headers=self.owner())

    def connections(self) -> list[str]:
        return [one["id"] for one in self.get("/app/connections")["connections"]]

    def pull(self, published: int) -> None:
        self.clinic.published = published
        (outcome,) = asyncio.run(sync(self.service.worker))
        if outcome.status != FRESH:
            raise OSError(outcome.error)

    def consents(self) -> list[dict[str, Any]]:
        return [entry["resource"] for entry in self.get("/fhir/Consent").get("entry", [])]


def told(answer: httpx.Response) -> httpx.Response:
    """A right answer, or OSError."""
    if answer.status_code >= 500:
        raise OSError(answer.status_code)
    assert answer.status_code < 400, answer.text
    return answer


@contextmanager
def living(home: Home, generation: int) -> Iterator[Living]:
    """Start as `aggregator serve` does. generation: how many leases ago the story began.

    Who lived before holds nothing any more.
    """
    clock, clinic = FrozenClock(START + timedelta(minutes=LEASE * generation)), Clinic()
    key = ECKey.import_key(orjson.loads((home.folder / "praxis.key").read_bytes()))
    client = ClientSettings(
        name="praxis",
        jwks_file=home.folder / "praxis.jwks",
        identifiers=[IdentifierSettings(system=PARTIES, value="praxis")],
        purposes=["TREAT"],
    )
    config = Config(
        store=home.store,
        keys=KeySettings(folder=home.folder / "keys"),
        clients={"praxis": client},
    )
    service = open_service(config, clock)
    registry = Scripted(clinic.source("klinik"))
    worker = replace(service.worker, registry=registry)
    service = replace(service, registry=registry, worker=worker, connections=Connections(worker))
    http = InProcess(create_app(service))
    try:
        world = HttpWorld(service, cast(Any, None), clock, cast(Any, http), {"praxis": key})
        codes = home.paper
        yield Living(home, service, clinic, world, orjson.loads(codes.read_bytes()) if codes.exists() else {})
    finally:
        http.close()
        service.close()


# Steps. Each can be done again where nobody knows whether it was done.


def sign_up(life: Living) -> None:
    stated = {"family": "Anders", "given": "Berta", "birth_date": "1990-02-03"}
    answer = life.world.http.post("/auth/sign-up", json={"login": OTHER_LOGIN, "password": PASSWORD, **stated})
    if answer.status_code == 400:  # it was done, and its answer lost: nobody has seen the recovery code
        assert life.sign_in(OTHER_LOGIN, PASSWORD)
        life.unproven.add("other")
        return
    life.codes[OTHER_LOGIN] = told(answer).json()["recovery_code"]
    life.home.paper.write_bytes(orjson.dumps(life.codes))


def prove(life: Living) -> None:
    if OTHER_LOGIN in life.codes:
        proof = {"login": OTHER_LOGIN, "recovery_code": life.codes[OTHER_LOGIN]}
        told(life.world.http.post("/auth/recovery-proof", json=proof))


def recover(life: Living) -> None:
    asked = {"login": LOGIN, "recovery_code": life.codes[LOGIN], "password": NEW_PASSWORD}
    life.world.owners[LOGIN] = told(life.world.http.post("/auth/recover", json=asked)).json()["token"]


def connect(life: Living) -> None:
    if not life.connections():
        asked = {"source": "klinik", "account": {"account": "erika"}}
        told(life.request("POST", "/app/connections", asked))


def disconnect(life: Living) -> None:
    for one in life.connections():
        told(life.request("DELETE", f"/app/connections/{one}"))


def read(life: Living) -> None:
    life.get(f"/fhir/Patient/{life.patient()}/$everything")


def permit(life: Living) -> None:
    if not any(one["status"] == "active" for one in life.consents()) or not readable(life):
        asked = consent(life.patient(), "praxis")
        told(life.request("POST", "/fhir/Consent", asked))


def withdraw(life: Living) -> None:
    for one in life.consents():
        if one["status"] == "active":
            asked = one | {"status": "inactive"}
            told(life.request("PUT", f"/fhir/Consent/{one['id']}", asked))


def end_grant(life: Living) -> None:
    told(life.request("DELETE", "/app/grants/praxis"))


def checkpoint(life: Living) -> None:
    life.service.store.checkpoint()


# Facts, as they are seen from outside.


def readable(life: Living) -> bool:
    """May the practice read?"""
    try:
        caller = life.world.token("praxis")
    except AssertionError:  # its token could not be written
        raise OSError from None
    answer = life.world.get(f"/fhir/Observation?patient={life.patient()}", caller)
    if answer.status_code >= 500:
        raise OSError(answer.status_code)
    return answer.status_code == 200


def record(life: Living) -> list[int]:
    """The values that the owner sees."""
    found_ = life.get("/fhir/Observation").get("entry", [])
    return sorted(int(entry["resource"]["valueQuantity"]["value"]) for entry in found_)


def other(life: Living) -> str:
    """How far Berta's sign-up went."""
    if life.sign_in(OTHER_LOGIN, PASSWORD) is None:
        return "none"
    vault = life.world.patients[OTHER_LOGIN].partition(".")[0]
    return "proven" if life.service.accounts.recovery_proven(vault) else "signed up"


LOOKS: Mapping[str, Callable[[Living], Any]] = {
    "password": lambda life: life.sign_in(),
    "other": other,
    "connections": lambda life: len(life.connections()),
    "record": record,
    "readable": readable,
}


@dataclass(frozen=True)
class Step:
    """changes: fact -> the states through which it goes, the last one to stay."""

    do: Callable[[Living], None]
    changes: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def _sync(published: int) -> Step:
    return Step(lambda life: life.pull(published), {"record": AFTER[1 : published + 1]})


@dataclass(frozen=True)
class Scenario:
    """template: the scenario whose end this one starts from."""

    template: str
    facts: Facts
    steps: Sequence[Step]


SCENARIOS: Mapping[str, Scenario] = {
    "accounts": Scenario(
        "person",
        {"password": PASSWORD, "other": "none"},
        (
            Step(sign_up, {"other": ["signed up"]}),
            Step(prove, {"other": ["proven"]}),
            Step(recover, {"password": [NEW_PASSWORD]}),
        ),
    ),
    "sync": Scenario(
        "person",
        {"record": [], "connections": 0},
        (
            Step(connect, {"connections": [1]}),
            _sync(2),
            _sync(3),
            Step(disconnect, {"connections": [0]}),
        ),
    ),
    "grants": Scenario(
        "record",
        {"record": AFTER[2], "readable": False},
        (
            Step(permit, {"readable": [True]}),
            Step(end_grant, {"readable": [False]}),
            Step(permit, {"readable": [True]}),
            Step(withdraw, {"readable": [False]}),
        ),
    ),
    "snapshots": Scenario(
        "record",
        {"record": AFTER[2], "connections": 1},
        (Step(read), Step(checkpoint), _sync(3), Step(read), Step(checkpoint)),
    ),
}


def make_person(home: Home) -> None:
    """A key for the practice, and Erika, whose recovery code is proven."""
    key = ECKey.generate_key("P-384", {"kid": "praxis"})
    (home.folder / "praxis.key").write_bytes(orjson.dumps(key.as_dict(private=True)))
    (home.folder / "praxis.jwks").write_bytes(orjson.dumps({"keys": [key.as_dict(private=False)]}))
    with living(home, 0) as life:
        signed_up = life.service.accounts.sign_up(LOGIN, PASSWORD, ERIKA)
        life.service.accounts.prove_recovery(LOGIN, signed_up.recovery_code)
        home.paper.write_bytes(orjson.dumps({LOGIN: signed_up.recovery_code}))


def make_record(home: Home) -> None:
    """What `make_person` made, with two batches in the log."""
    with living(home, 0) as life:
        connect(life)
        life.pull(2)


def play(life: Living, scenario: Scenario, first: int, acknowledge: Callable[[Facts], None]) -> None:
    """Do the steps from `first` on; each is acknowledged with the head of the audit chain that the owner may keep."""
    for number in range(first, len(scenario.steps)):
        scenario.steps[number].do(life)
        acknowledge({"step": number, "head": head(life)})


def head(life: Living) -> Facts | None:
    """The signed head of Erika's chain; None before her first receipt."""
    vault = life.patient().partition(".")[0]
    with life.service.store.read() as session:
        found_ = remembered.newest(session, vault)
    return remembered.as_json(found_, life.service.key_service.audit_verification_key()) if found_ else None


def look(life: Living, scenario: Scenario) -> Facts:
    """The scenario's facts as they are now."""
    if "password" not in scenario.facts:
        life.owner()
    return {fact: LOOKS[fact](life) for fact in scenario.facts if fact not in life.unproven}


def sound(life: Living, heads: Sequence[Facts]) -> list[str]:
    """What is wrong with chains, remembered heads and open intents: nothing, it is to be hoped."""
    key = life.service.key_service.audit_verification_key()
    kept = [one for each in heads for one in remembered.read(orjson.dumps(each).decode(), key)]
    with life.service.store.read() as session:
        vaults = session.exec(select(Vault.id)).all()
        found_ = [verify.check(session, vault, key, kept).finding for vault in vaults]
        intents = len(session.exec(select(GrantIntent)).all())
    return [str(one) for one in found_ if one] + [f"{intents} open intents"] * bool(intents)
