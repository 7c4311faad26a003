"""A clinic on a real socket that misbehaves: status, sentence, and that nothing is stored by halves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aggregator.config import SourceSettings
from aggregator.demo.clinic import Clinic
from aggregator.demo.faults import EMPTY, HTML, Alter, Answer, Fault, Faulty, status
from aggregator.demo.server import serve
from aggregator.sync.registry import Source
from aggregator.sync.run import Outcome
from connectors.clinic_fhir import SPEC
from fhir_profiles.text import Resource
from tests.sync.sync_world import SyncWorld, observation, patient
from tests.sync.test_sync_person import MAX

TOKEN = "erikas-token"
COUNT = 30  # results, in pages of ten

Sync = Callable[[list[Fault]], Outcome]


def _bundle(*resources: Resource) -> Resource:
    entries = [
        {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
        for one in resources
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


@pytest.fixture
def clinic(syncing: SyncWorld) -> Clinic:
    clinic = Clinic(syncing.clock)
    clinic.load(_bundle(patient(), *(observation(f"o{number}", number) for number in range(COUNT))), "erika")
    clinic.access.allow(TOKEN, "p1")
    return clinic


@pytest.fixture
def sync(syncing: SyncWorld, clinic: Clinic) -> Sync:
    """One run against the clinic with these faults."""
    connected: list[str] = []

    def run(faults: list[Fault]) -> Outcome:
        with serve(Faulty(clinic.app(), faults)) as up:
            settings = {"base_url": f"{up.url}/fhir", "page_size": 10, "resource_types": ["Observation"]}
            source = Source("klinik", SourceSettings(connector="clinic_fhir", settings=settings), SPEC)
            syncing.registry.put(source)
            if not connected:
                signer = syncing.world.signing.signer(syncing.fresh())
                account = {"patient_id": "p1", "bearer_token": TOKEN}
                connected.append(syncing.connections.connect(signer, "klinik", account))
            return syncing.run(connected[0])

    return run


def always(path: str, act: Answer | Alter, first: int = 1) -> list[Fault]:
    return [Fault(path=path, act=act, first=first, times=None)]


SEARCH = r"/Observation\?"
LARGE = Answer(body=b'{"resourceType":"Bundle","type":"searchset","entry":[]' + b" " * 50_000_000 + b"}")

TABLE = {
    "HTML": (always(SEARCH, HTML), "broken", "The source answers with a web page instead of FHIR"),
    "401": (always(SEARCH, status(401)), "sign-in", "the patient must"),
    "403": (always(SEARCH, status(403)), "sign-in|broken", "must"),
    "404": (always(SEARCH, status(404)), "broken", "the operator must"),
    "429": (always(SEARCH, status(429, retry_after=120)), "late", "tried again"),
    "500": (always(SEARCH, status(500)), "late", "tried again"),
    "nothing": (always(SEARCH, EMPTY), "late", "The source's answer is empty or was cut off: it is tried again."),
    "half a page": (always(SEARCH, Alter.HALF), "late", "empty or was cut off"),
    "the same page for ever": (always(SEARCH, Alter.SAME), "broken", "the same page again and again"),
    "50 MB in one page": (always(SEARCH, LARGE), "broken", "more than 32 MB in one page"),
}


@pytest.mark.attack(54)
@pytest.mark.parametrize(("faults", "expected", "told"), TABLE.values(), ids=TABLE)
def test_each_fault_has_a_status_and_says_who_must_act(
    sync: Sync, syncing: SyncWorld, faults: list[Fault], expected: str, told: str
) -> None:
    outcome = sync(faults)
    assert outcome.status in expected.split("|")
    assert told in outcome.error
    assert TOKEN not in outcome.error
    mended = sync([])
    assert (mended.status, mended.found, mended.quarantined) == ("fresh", 1 + COUNT, 0)
    assert outcome.stored + mended.stored == 1 + COUNT
    assert {len(versions) for versions in syncing.record()["results"].values()} == {1}


def test_one_503_is_waited_out_within_the_run(sync: Sync) -> None:
    outcome = sync([Fault(path=SEARCH, act=status(503, retry_after=0), first=2)])
    assert (outcome.status, outcome.stored) == ("fresh", 1 + COUNT)


@pytest.mark.attack(57)
def test_another_patients_data_in_our_searches_is_set_aside_without_its_payload(
    sync: Sync, syncing: SyncWorld, clinic: Clinic
) -> None:
    clinic.load(_bundle(patient(MAX, "max"), observation("o-max", 99, "Patient/max")), "max")
    clinic.access.allow(TOKEN, None)  # the server's own mistake: the token opens everything
    outcome = sync([])
    assert (outcome.status, outcome.stored) == ("fresh", 1 + COUNT)
    assert all(one["raw"] is None for one in syncing.opened())
    assert b"o-max" not in syncing.raw()


def test_a_whole_account_of_another_patient_gives_nothing(sync: Sync, syncing: SyncWorld, clinic: Clinic) -> None:
    clinic.load(_bundle(patient(MAX, "p1")), "a mix-up")
    outcome = sync([])
    assert (outcome.stored, outcome.quarantined) == (0, 1 + COUNT)
    assert {one["reason"] for one in syncing.opened()} == {"other-person"}
    assert b"Geheimnisvoll" not in syncing.raw()


def test_a_server_that_is_gone_is_tried_again(syncing: SyncWorld) -> None:
    with serve(Clinic(syncing.clock).app()) as up:
        settings = {"base_url": f"{up.url}/fhir"}
    source = Source("klinik", SourceSettings(connector="clinic_fhir", settings=settings), SPEC)
    syncing.registry.put(source)
    signer = syncing.world.signing.signer(syncing.fresh())
    connection = syncing.connections.connect(signer, "klinik", {"patient_id": "p1", "bearer_token": TOKEN})
    outcome = syncing.run(connection)
    assert (outcome.status, outcome.error) == (
        "late",
        "The connection to the source failed or broke off: it is tried again.",
    )
