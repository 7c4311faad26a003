"""What a patient, a source and a practice do, step by step, over HTTP against a real store and key ring.

Each step says which facts it changes, and through which states. After a fault, what is seen must be the state of the
last acknowledged step, or one that the step under way was to bring: nothing acknowledged is lost, nothing is half made.
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlmodel import select

from aggregator.audit import remembered, verify
from aggregator.audit.receipts import SYSTEM
from aggregator.errors import OperatorError
from aggregator.vault import blob_rows
from aggregator.vault.blob_rows import Sweeper
from aggregator.vault.tables import GrantIntent, Vault
from fhir_profiles import codes
from tests.api.http_world import consent
from tests.faults import operator
from tests.faults.living import LOGIN, NEW_PASSWORD, PASSWORD, Facts, Living, failure, told
from tests.sync.sync_world import batch, deleted, found, observation, patient

OTHER_LOGIN = "berta"
BATCHES = (
    batch(patient(), observation("o1", 1), observation("o2", 2), cursor="1"),
    batch(observation("o3", 3), cursor="2"),
    batch(found(observation("o1", 11)), deleted("Observation/o2"), cursor="3"),
)
SCAN = random.Random(1).randbytes(70_000)
LETTERS = (
    batch(
        patient(),
        {
            "resourceType": "DocumentReference",
            "id": "d1",
            "status": "current",
            "subject": {"reference": "Patient/p1"},
            "type": {"coding": [{"system": codes.LOINC, "code": "11490-0"}]},
            "content": [{"attachment": {"contentType": "image/tiff", "data": base64.b64encode(SCAN).decode()}}],
        },
        cursor="1",
    ),
    batch(deleted("DocumentReference/d1"), cursor="2"),
)
AFTER: tuple[list[int], ...] = ([], [1, 2], [1, 2, 3], [3, 11])
"""The values that the record shows after so many batches."""

# Steps. Each can be done again where nobody knows whether it was done.


def sign_up(life: Living) -> None:
    stated = {"family": "Anders", "given": "Berta", "birth_date": "1990-02-03"}
    answer = life.world.http.post("/auth/sign-up", json={"login": OTHER_LOGIN, "password": PASSWORD, **stated})
    if answer.status_code == 400:  # it was done, and its answer lost: nobody has seen the recovery code
        assert life.sign_in(OTHER_LOGIN, PASSWORD)
        life.keep_code(OTHER_LOGIN, "")
    else:
        life.keep_code(OTHER_LOGIN, told(answer).json()["recovery_code"])


def prove(life: Living) -> None:
    if life.codes.get(OTHER_LOGIN):
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


def prove_mine(life: Living) -> None:
    """Erika's; she has a new one made where she has not seen it."""
    if not life.codes.get(LOGIN):
        life.owner()
        life.keep_code(LOGIN, told(life.request("POST", "/app/unlockers/recovery")).json()["recovery_code"])
    proof = {"login": LOGIN, "recovery_code": life.codes[LOGIN]}
    told(life.world.http.post("/auth/recovery-proof", json=proof))


def bring_in(life: Living) -> None:
    """Where it was done and its answer lost, nobody has seen the recovery code."""
    if life.sign_in() is None:
        life.keep_code(LOGIN, operator.import_(life))


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


def end_grant_late(life: Living) -> None:
    """When the unlock is too long ago for a signature: the keys change at the next sign-in."""
    life.clock.advance(minutes=6)
    end_grant(life)


def sign_in_again(life: Living) -> None:
    if life.sign_in() is None:
        raise OperatorError("nobody signs in")


def checkpoint(life: Living) -> None:
    life.service.store.checkpoint()


# Facts, as they are seen from outside.


def readable(life: Living) -> bool:
    """May the practice read?"""
    try:
        caller = life.world.token("praxis")
    except AssertionError:  # its token could not be written
        raise OperatorError("no token") from None
    answer = life.world.get(f"/fhir/Observation?patient={life.patient()}", caller)
    if answer.status_code >= 500:
        raise failure(answer.status_code)
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


def due(life: Living) -> bool:
    """Are the vault's keys still to be changed after a sign-in? Never."""
    sign_in_again(life)
    vault = life.patient().partition(".")[0]
    with life.service.store.read() as session:
        row = session.get(Vault, vault)
    assert row
    return life.service.key_service.rotation_due(vault) >= row.epoch


def letter(life: Living) -> str:
    """What the owner can read of it."""
    found_ = life.get("/fhir/DocumentReference").get("entry", [])
    if not found_:
        return "none"
    url = found_[0]["resource"]["content"][0]["attachment"]["url"]
    return "whole" if told(life.request("GET", f"/fhir/{url}")).content == SCAN else "broken"


def remains(life: Living) -> bool:
    """Is there a record that nobody can sign in to?"""
    with life.service.store.read() as session:
        vaults = session.exec(select(Vault.id).where(Vault.id != SYSTEM)).all()
    return bool(vaults) and life.sign_in() is None


def strays(life: Living) -> int:
    """Blobs that nothing names, when the sweep has come by twice."""
    store, blobs = life.service.store, life.service.blobs
    sweeper = Sweeper(store, blobs)
    for steady in (0.0, 4000.0):
        sweeper.sweep(time.time() + 200_000, steady)
    return len({name for name, _ in blobs.ids()} ^ set(blob_rows.named(store)))


LOOKS: Mapping[str, Callable[[Living], Any]] = {
    "password": lambda life: life.sign_in(),
    "other": other,
    "connections": lambda life: len(life.connections()),
    "record": record,
    "readable": readable,
    "due": due,
    "strays": strays,
    "letter": letter,
    "remains": remains,
}


WITHOUT_OWNER = {"password", "other", "strays", "remains"}
"""Can be seen where Erika has no account."""


@dataclass(frozen=True)
class Step:
    """changes: fact -> the states through which it goes, the last one to stay."""

    do: Callable[[Living], None]
    changes: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def _sync(published: int) -> Step:
    return Step(lambda life: life.pull(BATCHES[:published]), {"record": AFTER[1 : published + 1]})


@dataclass(frozen=True)
class Scenario:
    """template: where it starts from; see tests.faults.templates."""

    template: str
    facts: Facts
    steps: Sequence[Step]
    by_operator: bool = False
    """Somebody stops and starts it, and its end may know less of the chains than patients have kept."""


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
    "rotation": Scenario(
        "record",
        {"record": AFTER[2], "readable": False, "due": False},
        (
            Step(permit, {"readable": [True]}),
            Step(end_grant_late, {"readable": [False]}),
            Step(sign_in_again),
            _sync(3),
            Step(permit, {"readable": [True]}),
        ),
    ),
    "letters": Scenario(
        "person",
        {"strays": 0, "letter": "none", "connections": 0},
        (
            Step(connect, {"connections": [1]}),
            Step(lambda life: life.pull(LETTERS[:1]), {"letter": ["whole"]}),
            Step(lambda life: life.pull(LETTERS), {"letter": ["none"]}),
            Step(read),
        ),
    ),
    "operator": Scenario(
        "record",
        {"record": AFTER[2], "readable": False},
        (
            Step(permit, {"readable": [True]}),
            Step(operator.back_up),
            Step(end_grant, {"readable": [False]}),
            Step(operator.lose),
            Step(operator.rotate_master),
            Step(operator.rotate_worker),
            _sync(3),
        ),
        by_operator=True,
    ),
    "import": Scenario(
        "moved",
        {"password": None, "record": None, "letter": None, "connections": None, "readable": None, "strays": 0},
        (
            Step(
                bring_in,
                {
                    "password": [PASSWORD],
                    "record": [AFTER[2]],
                    "letter": ["whole"],
                    "connections": [0],
                    "readable": [False],
                },
            ),
            Step(prove_mine),
            Step(connect, {"connections": [1]}),
            _sync(3),
            Step(permit, {"readable": [True]}),
        ),
        by_operator=True,
    ),
    "erasure": Scenario(
        "record",
        {"password": PASSWORD, "remains": False},
        (Step(operator.erase, {"password": [None]}),),
        by_operator=True,
    ),
}


def play(life: Living, scenario: Scenario, first: int, acknowledge: Callable[[Facts], None]) -> None:
    """Do the steps from `first` on; each is acknowledged with the head of the audit chain that the owner may keep."""
    for number in range(first, len(scenario.steps)):
        scenario.steps[number].do(life)
        acknowledge({"step": number, "head": None if scenario.by_operator else head(life)})


def head(life: Living) -> Facts | None:
    """The signed head of Erika's chain; None before her first receipt."""
    vault = life.patient().partition(".")[0]
    with life.service.store.read() as session:
        found_ = remembered.newest(session, vault)
    return remembered.as_json(found_, life.service.key_service.audit_verification_key()) if found_ else None


def look(life: Living, scenario: Scenario) -> Facts:
    """The scenario's facts as they are now; None for what is Erika's where she has no account."""
    known = life.sign_in() is not None
    lost = {"other"} if life.codes.get(OTHER_LOGIN) == "" else set[str]()  # nobody can prove what nobody has seen
    return {
        fact: LOOKS[fact](life) if known or fact in WITHOUT_OWNER else None
        for fact in scenario.facts
        if fact not in lost
    }


def sound(life: Living, heads: Sequence[Facts]) -> list[str]:
    """What is wrong with chains, remembered heads and open intents: nothing, it is to be hoped."""
    key = life.service.key_service.audit_verification_key()
    kept = [one for each in heads for one in remembered.read(orjson.dumps(each).decode(), key)]
    with life.service.store.read() as session:
        vaults = session.exec(select(Vault.id)).all()
        found_ = [verify.check(session, vault, key, kept).finding for vault in vaults]
        intents = len(session.exec(select(GrantIntent)).all())
    return [str(one) for one in found_ if one] + [f"{intents} open intents"] * bool(intents)
