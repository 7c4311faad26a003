"""Who is verified receives from a feed, at the level that it asks for; a patient's own word routes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import select

from aggregator.config import SourceSettings
from aggregator.consent.mandate import Person
from aggregator.demo.story_ldt import lab_reports
from aggregator.demo.story_people import people, practices
from aggregator.errors import CallerError, Refused
from aggregator.identity.accounts import Owner
from aggregator.sync.registry import Source, load
from aggregator.sync.tables import Route
from aggregator.sync.verification import Level, Method, Verification, open_facts
from connectors.contract import Kind
from tests.sync.sync_world import SyncWorld, batch, second_owner
from tests.sync.test_feeds import MAX, feed_row, max_owner, report, stored
from tests.vault.world import ERIKA
from tests.weaken import weakens

ISSUER = "https://id.kasse.example"


def vouched(syncing: SyncWorld, person: Person = ERIKA, level: Level = Level.SUBSTANTIAL) -> Verification:
    """What a sign-in provider says."""
    return Verification(person=person, method=Method.OPENID, level=level, by=ISSUER, at=syncing.clock())


def verify(syncing: SyncWorld, verification: Verification, owner: Owner | None = None) -> str:
    signer = syncing.world.signing.signer(owner or syncing.fresh())
    return syncing.connections.verify(signer, "labor", verification)


def ask_for(syncing: SyncWorld, level: str) -> None:
    """The operator sets the feed's level."""
    before = syncing.registry.source("labor")
    settings = before.settings.model_copy(update={"identity_level": level})
    syncing.registry.put(replace(before, settings=settings))


def routes(syncing: SyncWorld) -> list[Route]:
    with syncing.store.read() as session:
        return list(session.exec(select(Route)))


# --- what is verified, and how surely


@pytest.mark.parametrize("asked", list(Level))
@pytest.mark.parametrize("level", list(Level))
def test_a_feed_delivers_from_the_level_on_that_it_asks_for(syncing: SyncWorld, asked: Level, level: Level) -> None:
    ask_for(syncing, asked)
    syncing.feed.says([batch(*report(ERIKA, "erika"))])
    if level.rank < asked.rank:
        with pytest.raises(Refused, match=rf"asks for .* level {asked}, .* is {level}; ask the practice"):
            verify(syncing, vouched(syncing, level=level))
        assert routes(syncing) == []
    else:
        verify(syncing, vouched(syncing, level=level))
    syncing.run_feed()
    assert stored(syncing) == ([7] if level.rank >= asked.rank else [])


def test_a_feed_asks_for_substantial_unless_told_otherwise() -> None:
    assert SourceSettings(connector="practice_ldt").identity_level == Level.SUBSTANTIAL
    assert [level.rank for level in (Level.LOW, Level.SUBSTANTIAL, Level.HIGH)] == [1, 2, 3]


def test_a_level_that_is_raised_later_stops_what_was_verified_below_it(syncing: SyncWorld) -> None:
    syncing.verify()
    ask_for(syncing, "high")
    syncing.feed.says([batch(*report(ERIKA, "erika"))])
    syncing.run_feed()
    assert (stored(syncing), feed_row(syncing).waiting) == ([], 2)
    verify(syncing, vouched(syncing, level=Level.HIGH))
    syncing.run_feed()
    assert stored(syncing) == [7]


def test_a_code_below_the_level_is_not_issued(syncing: SyncWorld) -> None:
    ask_for(syncing, "high")
    with pytest.raises(CallerError, match="labor asks for the level high: a code at level substantial would open noth"):
        syncing.connections.issue_code("labor", ERIKA)
    code = syncing.connections.issue_code("labor", ERIKA, Level.HIGH)
    assert syncing.connections.redeem(syncing.world.signing.signer(syncing.fresh()), code)


def test_a_code_issued_before_the_level_rose_says_what_to_do(syncing: SyncWorld) -> None:
    code = syncing.connections.issue_code("labor", ERIKA)
    ask_for(syncing, "high")
    with pytest.raises(Refused, match="labor asks for an identity verified at level high"):
        syncing.connections.redeem(syncing.world.signing.signer(syncing.fresh()), code)


def test_a_weaker_verification_takes_nothing_from_a_stronger_one(syncing: SyncWorld) -> None:
    ask_for(syncing, "low")
    verify(syncing, vouched(syncing, level=Level.HIGH))
    verify(syncing, vouched(syncing, level=Level.LOW))
    assert {route.level for route in routes(syncing)} == {3}


def test_the_facts_stand_sealed_beside_the_connection_and_go_with_it(syncing: SyncWorld) -> None:
    connection = syncing.verify()
    verify(syncing, vouched(syncing))
    row = syncing.row(connection)
    facts = open_facts(syncing.world.worker, row.vault, row.id, row.verification)
    assert [(fact.method, fact.level, fact.by, fact.at) for fact in facts] == [
        ("activation-code", "substantial", "labor", syncing.clock()),
        ("openid", "substantial", ISSUER, syncing.clock()),
    ]
    assert b'"openid"' not in syncing.raw()  # a table is called so
    assert ISSUER.encode() not in syncing.raw()
    syncing.end(connection)
    assert syncing.row(connection).verification is None
    assert routes(syncing) == []


def test_a_corrected_name_adds_tags_and_takes_none(syncing: SyncWorld) -> None:
    married = replace(ERIKA, family="Verheiratet")
    syncing.verify()
    before = {route.tag for route in routes(syncing)}
    syncing.verify(person=married)
    after = {route.tag for route in routes(syncing)}
    assert (len(before), len(after), before < after) == (3, 4, True)
    syncing.feed.says([batch(*report(ERIKA, "erika", 1), *report(married, "married", 2))])
    syncing.run_feed()
    assert stored(syncing) == [1, 2]


def test_an_account_source_needs_no_verification(syncing: SyncWorld) -> None:
    with pytest.raises(CallerError, match="klinik is no feed"):
        syncing.connections.verify(syncing.world.signing.signer(syncing.fresh()), "klinik", vouched(syncing))


# --- attacks


@pytest.fixture
def laboratory(syncing: SyncWorld, tmp_path: Path) -> Person:
    """The feed is a real folder of LDT reports now; returns whom they are about."""
    who, practice = people()[0], practices()[0]
    folder = tmp_path / "ldt"
    folder.mkdir()
    for name, content in lab_reports(who, practice):
        (folder / name).write_bytes(content)
    told = {"folder": str(folder), "authority_system": "https://labor.example/tests"}
    syncing.registry.put(Source("labor", SourceSettings(connector="practice_ldt", settings=told), load("practice_ldt")))
    assert syncing.registry.source("labor").spec.kind is Kind.FEED
    return Person(family=who.family, given=who.given, birth_date=who.birth_date.isoformat(), kvnr=who.kvnr)


@pytest.mark.attack(55)
@weakens("aggregator.sync.verification.Level", "rank", property(lambda _: 3))
@weakens("aggregator.sync.connect", "_is_stated", lambda *_: True)
def test_who_signs_up_as_somebody_else_receives_no_laboratory_report(syncing: SyncWorld, laboratory: Person) -> None:
    """By name, birth date and insurance number: by themselves, with a self-made identity, with a code of their own."""
    thief = replace(second_owner(syncing.world, laboratory), unlocked_at=syncing.clock())
    signer = syncing.world.signing.signer(thief)
    syncing.run_feed()
    waiting = feed_row(syncing).waiting
    assert waiting > 0
    with pytest.raises(Refused, match="asks for an identity verified at level substantial"):
        verify(syncing, vouched(syncing, laboratory, Level.LOW), thief)
    with pytest.raises(Refused, match="is not the one that this record is for"):
        verify(syncing, vouched(syncing, MAX), thief)
    with pytest.raises(Refused, match="this activation code is not valid"):
        syncing.connections.redeem(signer, syncing.connections.issue_code("labor", MAX))
    with pytest.raises(CallerError, match="is connected with an activation code from the practice"):
        syncing.connections.connect(signer, "labor", {})
    syncing.run_feed(again=True)
    assert (syncing.record(thief).keys(), syncing.opened(thief)) == ({"identity"}, [])
    assert feed_row(syncing).waiting == waiting


def test_whom_the_practice_has_seen_receives_them(syncing: SyncWorld, laboratory: Person) -> None:
    """The same folder and the same sign-up: all that the thief lacks is the code."""
    owner = replace(second_owner(syncing.world, laboratory), unlocked_at=syncing.clock())
    syncing.verify(owner, laboratory)
    syncing.run_feed()
    assert syncing.record(owner)["results"]
    assert feed_row(syncing).waiting == 0


@pytest.mark.attack(55)
@weakens("aggregator.sync.routes", "is_genuine", lambda _keys, _row: True)
@pytest.mark.parametrize("bent", ["connection", "level"])
def test_a_route_that_is_bent_in_the_database_delivers_nothing(syncing: SyncWorld, bent: str) -> None:
    """The thief's record claims to be Erika's, so that the second look, at the person, would let it through."""
    syncing.feed.says([batch(*report(ERIKA, "erika"))])
    erikas, thief = syncing.verify(), max_owner(syncing, ERIKA)
    thiefs = syncing.verify(thief, ERIKA)
    if bent == "connection":
        syncing.world.sql("DELETE FROM route WHERE connection = ?", thiefs)
        syncing.world.sql("UPDATE route SET connection = ? WHERE connection = ?", thiefs, erikas)
    else:
        ask_for(syncing, "high")
        syncing.world.sql("UPDATE route SET level = 3")
    syncing.run_feed()
    assert stored(syncing, thief) == []
    assert feed_row(syncing).waiting == 2
