"""The one list of parties: how one comes on it, under which name, and what of it survives an edited database."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from joserfc.jwk import ECKey

from aggregator.config import ClientSettings
from aggregator.consent.decide import PartyKind
from aggregator.errors import OperatorError
from aggregator.identity.client_registry import ClientRegistry, register
from aggregator.identity.directory import Entry
from aggregator.identity.parties import Listed, Parties
from aggregator.identity.registration import Unfit
from aggregator.identity.registrations import Full, Registrations, State
from fhir_profiles.codes import APP_AUTHORIZATION, PARTY_CLASS, RECORD
from tests.vault.world import World
from tests.weaken import weakens

KEYS = {"keys": [ECKey.generate_key("P-384", {"kid": "k"}).as_dict(private=False)]}
LANR, BSNR = ("https://fhir.kbv.de/NamingSystem/KBV_NS_Base_ANR", "https://fhir.kbv.de/NamingSystem/KBV_NS_Base_BSNR")
DR_B = Entry(
    id="Practitioner/b",
    name="Dr. med. Bettina Brandt",
    role="Allgemeinmedizin, Hausarztpraxis am Markt",
    kind=PartyKind.PROVIDER,
    identifiers=frozenset({(LANR, "123456701")}),
)
APP: dict[str, Any] = {"client_name": "Tagebuch", "redirect_uris": ["https://app.example/back"]}
DOCTOR: dict[str, Any] = {
    "client_name": "Praxis Dr. B",
    "grant_types": ["client_credentials"],
    "jwks": KEYS,
    "identifiers": [{"system": LANR, "value": "123456701"}],
}


@pytest.fixture
def parties(world: World) -> Parties:
    return open_parties(world)


def open_parties(world: World) -> Parties:
    """One configured client, one entry in the directory, and room for three who wait."""
    told = {"name": "Hausarztpraxis am Markt", "jwks": KEYS, "identifiers": [{"system": BSNR, "value": "012345600"}]}
    configured = register({"hausarzt": ClientSettings.model_validate(told)}, nowhere, world.clock)
    registrations = Registrations(world.store, world.ring, world.clock, 3)
    clients = ClientRegistry(configured, registrations, nowhere, world.clock)
    return Parties(clients, registrations, {DR_B.id: DR_B}, nowhere, world.clock)


def nowhere(_: str) -> bytes:
    raise AssertionError("nothing is fetched")


def signing_in(parties: Parties) -> list[str]:
    return [party.id for party in parties]


@pytest.mark.attack(3)
@weakens("aggregator.identity.registrations.Registrations", "ask", lambda self, claim: self.add(claim, "", ""))
def test_who_registers_is_nobody_until_approved_and_after_its_end(parties: Parties, world: World) -> None:
    made = parties.register(DOCTOR)
    assert (made.state, signing_in(parties)) == (State.PENDING, ["hausarzt"])
    assert made.id not in parties._clients
    parties.approve(made.id, "called back")
    assert signing_in(open_parties(world)) == signing_in(parties) == ["hausarzt", made.id]
    parties.registrations.end(made.id)
    assert signing_in(parties) == ["hausarzt"]
    assert made.id not in parties._clients


def test_the_list_says_how_each_was_verified(parties: Parties, world: World) -> None:
    app = parties.approve(parties.register(APP).id, "seen the app")
    doctor = parties.add(DR_B.id, {"jwks": KEYS}, "key handed over")
    since = int(world.clock().timestamp())
    assert parties.listed() == [
        Listed(
            id="hausarzt",
            name="Hausarztpraxis am Markt",
            kind=PartyKind.PROVIDER,
            identifiers=frozenset({(BSNR, "012345600")}),
            verified="configured",
        ),
        *sorted(
            [
                Listed(
                    id=app.id,
                    name="Tagebuch",
                    kind=PartyKind.APP,
                    identifiers=frozenset(),
                    verified="approved",
                    note="seen the app",
                    since=since,
                ),
                Listed(
                    id=doctor.id,
                    name=DR_B.name,
                    role=DR_B.role,
                    kind=PartyKind.PROVIDER,
                    identifiers=DR_B.identifiers,
                    verified="directory",
                    note="key handed over",
                    since=since,
                ),
            ],
            key=lambda one: one.id,
        ),
        Listed(
            id=DR_B.id,
            name=DR_B.name,
            role=DR_B.role,
            kind=PartyKind.PROVIDER,
            identifiers=DR_B.identifiers,
            verified="directory",
            signs_in=False,
        ),
    ]


def test_a_consents_actor_is_told_by_name_and_role(parties: Parties) -> None:
    assert parties.called([(LANR, "123456701"), (LANR, "1"), (BSNR, "012345600")]) == {
        (LANR, "123456701"): "Dr. med. Bettina Brandt (Allgemeinmedizin, Hausarztpraxis am Markt)"
    }


def test_a_registered_party_has_a_name_as_long_as_it_is_one(parties: Parties) -> None:
    made = parties.register(DOCTOR).id
    assert (parties.name("hausarzt"), parties.name(made)) == ("Hausarztpraxis am Markt", None)
    parties.approve(made, "called back")
    assert parties.name(made) == "Praxis Dr. B"


@pytest.mark.parametrize("text", ["brandt", "BRANDT markt", "123456701", "Allgemeinmedizin"])
def test_somebody_is_found_by_words_or_by_an_identifier(parties: Parties, text: str) -> None:
    assert DR_B.id in [one.id for one in parties.found(text, 20)]


def test_nobody_is_found_by_what_is_not_there_and_no_more_than_are_wanted(parties: Parties) -> None:
    assert parties.found("chirurgie", 20) == []
    assert parties.found("12345670", 20) == []  # the beginning of an identifier is none
    assert len(parties.found("", 1)) == 1


IMITATIONS: list[dict[str, Any]] = [
    APP | {"client_name": "Hausarztpraxis am Markt"},
    APP | {"client_name": "HAUSARZTPRAXIS AM MARKT"},
    APP | {"client_name": "Ｈausarztpraxis  am  Markt!"},
    APP | {"client_name": "Hausarzt"},  # a client's id
    DOCTOR | {"identifiers": [{"system": BSNR, "value": "012345600"}]},
    DOCTOR | {"identifiers": [{"system": RECORD, "value": "x"}]},
    DOCTOR | {"identifiers": [{"system": PARTY_CLASS, "value": "payer"}]},
    DOCTOR | {"identifiers": [{"system": APP_AUTHORIZATION, "value": "x"}]},
]


@pytest.mark.attack(3)
@pytest.mark.parametrize("told", IMITATIONS)
@weakens("aggregator.identity.parties.Parties", "_check", lambda *_: None)
def test_nobody_comes_under_the_name_or_the_identifier_of_somebody_who_is_in(
    parties: Parties, told: dict[str, Any]
) -> None:
    with pytest.raises(Unfit):
        parties.register(told)


@pytest.mark.attack(3)
def test_nor_where_two_wait_and_one_of_them_came_in_meanwhile(parties: Parties) -> None:
    first, second = parties.register(DOCTOR), parties.register(DOCTOR | {"client_name": "PRAXIS DR B"})
    parties.approve(first.id, "called back")
    with pytest.raises(OperatorError, match="somebody else is registered"):
        parties.approve(second.id, "called back")


def test_the_operator_sees_what_the_directory_says_of_a_claim(parties: Parties) -> None:
    made = parties.register(DOCTOR)
    assert [one.id for one in parties.in_directory(made.claim)] == [DR_B.id]
    named = parties.register(APP | {"client_name": "Dr. med. Bettina Brandt"})
    assert [one.id for one in parties.in_directory(named.claim)] == [DR_B.id]
    assert parties.in_directory(parties.register(APP).claim) == []


def test_so_many_may_wait_and_for_so_long(parties: Parties, world: World) -> None:
    for _ in range(3):
        parties.register(APP)
    with pytest.raises(Full):
        parties.register(APP)
    world.clock.advance(days=30)
    assert parties.register(APP).state is State.PENDING
    assert len(parties.registrations.all(State.PENDING)) == 1


def test_of_ten_at_once_three_wait(parties: Parties) -> None:
    def attempt(_: int) -> bool:
        try:
            parties.register(APP)
        except Full:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(attempt, range(10))) == 3


def test_what_is_refused_leaves_nothing(parties: Parties) -> None:
    made = parties.register(APP)
    parties.registrations.refuse(made.id)
    assert parties.registrations.find(made.id) is None


WRONG_STATE: dict[str, Callable[[Parties, str], Any]] = {
    "approve an approved one": lambda parties, id_: parties.approve(id_, "again"),
    "refuse an approved one": lambda parties, id_: parties.registrations.refuse(id_),
    "end one of the settings": lambda parties, _: parties.registrations.end("hausarzt"),
    "approve nobody": lambda parties, _: parties.approve("client-" + "0" * 32, "x"),
    "end what is no id": lambda parties, _: parties.registrations.end("\ud800"),
    "add somebody of no file": lambda parties, _: parties.add("Practitioner/c", {"jwks": KEYS}, "x"),
    "add somebody without keys": lambda parties, _: parties.add(DR_B.id, {}, "x"),
}


@pytest.mark.parametrize("act", WRONG_STATE.values(), ids=WRONG_STATE)
def test_each_decision_has_its_state(parties: Parties, act: Callable[[Parties, str], Any]) -> None:
    made = parties.approve(parties.register(APP).id, "seen")
    with pytest.raises(OperatorError, match=r"^parties: "):
        act(parties, made.id)


EDITS = {
    "made approved": "UPDATE registered_client SET state = 'approved'",
    "given other keys": 'UPDATE registered_client SET told = replace(told, \'"jwks_uri":""\', \'"jwks_uri":"https://e.example"\')',
    "made another": "UPDATE registered_client SET id = 'client-00000000000000000000000000000000'",
    "made young": "UPDATE registered_client SET at = at + 1",
    "without a seal": "UPDATE registered_client SET state = 'approved', seal = x''",
}


@pytest.mark.attack(3, 27)
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@weakens("aggregator.identity.registrations.hmac", "compare_digest", lambda *_: True)
def test_who_writes_the_database_makes_nobody_a_client(
    parties: Parties, world: World, edit: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = parties.register(APP)
    world.sql(edit)
    with caplog.at_level(logging.ERROR):
        assert signing_in(parties) == ["hausarzt"]
        assert parties.registrations.all(*State) == []
    assert caplog.messages == ["parties: the row of a registered client is not what was written"] * len(caplog.messages)
    assert made.id not in caplog.text
    assert caplog.messages
