"""A feed carries many patients: who receives what, what stays at the source, and what happens when one vault fails."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlmodel import col, select, update

from aggregator.consent.mandate import Person
from aggregator.errors import CallerError, OperatorError, Refused
from aggregator.identity.accounts import Owner
from aggregator.sync.routes import feed_id
from aggregator.sync.run import Outcome
from aggregator.sync.tables import Activation, Feed, Quarantine, Route
from aggregator.vault import tables
from connectors.contract import Cursor, Found, Item, Reason
from fhir_profiles.text import Resource
from tests.sync.sync_world import (
    KilledHere,
    SyncWorld,
    batch,
    broken_commits,
    deleted,
    found,
    observation,
    patient,
    second_owner,
    skipped,
)
from tests.vault.world import ERIKA

MAX = Person(family="Geheimnisvoll", given="Max", birth_date="1961-02-28", kvnr="M987654326")
NO_NUMBER = replace(ERIKA, kvnr=None)


def report(who: Person, name: str, value: int = 7) -> list[Found]:
    """A laboratory's report: the person and a result. `name` tells patients and results apart."""
    subject = f"Patient/{name}"
    return [found(patient(who, name), who), found(observation(f"o-{name}", value, subject), who)]


def stored(syncing: SyncWorld, owner: Owner | None = None) -> list[int]:
    """The values of all results in a vault."""
    results = syncing.record(owner).get("results", {})
    return sorted(
        int(text.split('"value":')[1].split(",")[0]) for versions in results.values() for _, text in versions[-1:]
    )


def max_owner(syncing: SyncWorld, person: Person = MAX) -> Owner:
    return replace(second_owner(syncing.world, person), unlocked_at=syncing.clock())


def feed_row(syncing: SyncWorld) -> Feed:
    with syncing.store.read() as session:
        return session.get_one(Feed, feed_id(syncing.world.worker, "labor"))


def by_vault(outcomes: list[Outcome]) -> dict[str | None, tuple[int, int, int, str]]:
    return {one.vault: (one.found, one.stored, one.quarantined, one.status) for one in outcomes}


# --- activation codes


def test_a_code_verifies_whom_the_practice_has_seen(syncing: SyncWorld) -> None:
    syncing.feed.says([batch(*report(ERIKA, "erika"))])
    syncing.verify()
    assert by_vault(syncing.run_feed()) == {syncing.world.vault: (2, 2, 0, "fresh"), None: (0, 0, 0, "fresh")}
    assert stored(syncing) == [7]


def test_a_code_is_read_from_paper_in_any_writing(syncing: SyncWorld) -> None:
    code = syncing.connections.issue_code("labor", ERIKA)
    assert len(code) == 19
    syncing.connections.redeem(syncing.world.signing.signer(syncing.fresh()), code.lower().replace("-", " "))


def test_a_code_is_stored_as_a_handle_and_its_person_sealed(syncing: SyncWorld) -> None:
    code = syncing.connections.issue_code("labor", MAX)
    stored = syncing.raw()
    for canary in (code, code.replace("-", ""), "Geheimnisvoll", "M987654326", "labor"):
        assert canary.encode() not in stored


@pytest.mark.attack(7)
@pytest.mark.parametrize("case", ["used", "expired", "another person's", "never issued"])
def test_a_code_that_is_not_valid_does_not_say_why(syncing: SyncWorld, case: str) -> None:
    signer = syncing.world.signing.signer(syncing.fresh())
    code = syncing.connections.issue_code("labor", MAX if case == "another person's" else ERIKA)
    if case == "used":
        syncing.connections.redeem(signer, code)
    if case == "expired":
        syncing.clock.advance(days=30, seconds=1)
    if case == "never issued":
        code = "AAAA-BBBB-CCCC-DDDD"
    with pytest.raises(Refused, match=r"^this activation code is not valid; ask the practice for a new one$"):
        syncing.connections.redeem(signer, code)


def test_a_code_that_another_tried_still_serves_its_person(syncing: SyncWorld) -> None:
    code = syncing.connections.issue_code("labor", MAX)
    with pytest.raises(Refused):
        syncing.connections.redeem(syncing.world.signing.signer(syncing.fresh()), code)
    assert syncing.connections.redeem(syncing.world.signing.signer(max_owner(syncing)), code)


@pytest.mark.attack(48)
@pytest.mark.parametrize("number", [1, 2], ids=["the count of tries", "the connection"])
def test_a_crash_while_redeeming_leaves_the_code_unused(syncing: SyncWorld, number: int) -> None:
    code = syncing.connections.issue_code("labor", ERIKA)
    signer = syncing.world.signing.signer(syncing.fresh())
    with broken_commits(number), pytest.raises(KilledHere):
        syncing.connections.redeem(signer, code)
    with syncing.store.read() as session:
        assert session.exec(select(Activation)).one()
    assert syncing.connections.redeem(signer, code)


def test_a_code_is_given_by_a_feed_alone(syncing: SyncWorld) -> None:
    with pytest.raises(CallerError, match="klinik is no feed: it needs no activation code"):
        syncing.connections.issue_code("klinik", ERIKA)
    with pytest.raises(OperatorError, match="there is no source of that name"):
        syncing.connections.issue_code("charite", ERIKA)


@pytest.mark.attack(55)
def test_who_signs_up_with_anothers_number_and_birth_date_receives_nothing(syncing: SyncWorld) -> None:
    """Max's vault says to be Erika's; without a code the feed does not know it."""
    syncing.feed.says([batch(*report(ERIKA, "erika"))])
    thief = max_owner(syncing, ERIKA)
    assert by_vault(syncing.run_feed()) == {None: (0, 0, 0, "fresh")}
    assert stored(syncing, thief) == []
    assert b"o-erika" not in syncing.raw()


# --- routing


@pytest.mark.parametrize(
    ("verified", "named"),
    [
        (ERIKA, ERIKA),
        (ERIKA, replace(ERIKA, family="Verheiratet", given="E.")),
        (ERIKA, NO_NUMBER),
        (ERIKA, replace(NO_NUMBER, given="Erika")),
        (NO_NUMBER, NO_NUMBER),
    ],
    ids=["number and name", "number alone", "name and birth date", "first given name", "verified without number"],
)
def test_an_item_finds_its_person(syncing: SyncWorld, verified: Person, named: Person) -> None:
    syncing.feed.says([batch(*report(named, "erika"))])
    syncing.verify(person=verified)
    syncing.run_feed()
    assert stored(syncing) == [7]


@pytest.mark.parametrize(
    "named",
    [
        MAX,
        replace(ERIKA, kvnr=MAX.kvnr),
        replace(NO_NUMBER, birth_date="1957-08-14"),
        replace(NO_NUMBER, family="Andere"),
    ],
    ids=["another", "another number, our name", "another birth date", "another family name"],
)
@pytest.mark.attack(57)
def test_an_item_about_somebody_else_stays_at_the_source(syncing: SyncWorld, named: Person) -> None:
    syncing.feed.says([batch(*report(named, "stranger"))])
    syncing.verify()
    outcomes = syncing.run_feed()
    assert by_vault(outcomes) == {syncing.world.vault: (0, 0, 0, "fresh"), None: (0, 0, 0, "fresh")}
    assert syncing.opened() == []
    assert feed_row(syncing).waiting == 2
    assert b"stranger" not in syncing.raw()


@pytest.mark.attack(57)
def test_two_verified_people_with_one_name_and_birth_date_claim_nothing_by_it(syncing: SyncWorld) -> None:
    twin = max_owner(syncing, replace(ERIKA, kvnr=MAX.kvnr))
    syncing.verify()
    syncing.verify(twin, replace(ERIKA, kvnr=MAX.kvnr))
    syncing.feed.says([batch(*report(NO_NUMBER, "one-of-both"), *report(ERIKA, "erika", 1))])
    syncing.run_feed()
    assert (stored(syncing), stored(syncing, twin)) == ([1], [])


def test_everyone_receives_their_own(syncing: SyncWorld) -> None:
    owner = max_owner(syncing)
    syncing.verify()
    syncing.verify(owner, MAX)
    syncing.feed.says([batch(*report(ERIKA, "erika", 1), *report(MAX, "max", 2))])
    syncing.run_feed()
    assert (stored(syncing), stored(syncing, owner)) == ([1], [2])


def test_what_nobody_claimed_is_offered_again_when_its_person_is_verified(syncing: SyncWorld) -> None:
    syncing.feed.says([batch(*report(ERIKA, "erika"), cursor="9")])
    syncing.run_feed()
    assert feed_row(syncing).next_at > syncing.clock().timestamp()
    syncing.verify()
    assert feed_row(syncing).next_at == 0
    syncing.run_feed()
    assert syncing.feed.cursors == [None, None]
    assert stored(syncing) == [7]


def test_who_is_verified_during_a_run_still_receives_what_it_had_passed(syncing: SyncWorld) -> None:
    syncing.feed.says(
        [batch(*report(ERIKA, "erika"), cursor="1"), syncing.verify, batch(cursor="2")],
        [batch(*report(ERIKA, "erika"), cursor="2")],
    )
    (own,) = [one for one in syncing.run_feed() if one.vault is None]
    assert (own.status, feed_row(syncing).next_at) == ("late", 0)
    syncing.run_feed()
    assert syncing.feed.cursors == [None, None]
    assert stored(syncing) == [7]


def test_who_is_verified_again_with_a_corrected_name_gets_nothing_twice(syncing: SyncWorld) -> None:
    syncing.feed.says([batch(*report(ERIKA, "erika"))])
    first = syncing.verify()
    syncing.run_feed()
    second = syncing.verify(person=replace(ERIKA, given="Erika J.", family="Beispielmann-Neu"))
    syncing.run_feed()
    assert second == first
    assert stored(syncing) == [7]


def test_a_second_run_finds_nothing_new(syncing: SyncWorld) -> None:
    syncing.feed.says([batch(*report(ERIKA, "erika"), skipped("file/a", raw=b"broken"))])
    syncing.verify()
    syncing.run_feed()
    assert by_vault(syncing.run_feed()) == {syncing.world.vault: (2, 0, 0, "fresh"), None: (1, 0, 1, "fresh")}


def test_a_deletion_about_somebody_else_ends_nothing_here(syncing: SyncWorld) -> None:
    syncing.verify()
    about_max = replace(deleted("Observation/o-erika"), subject=report(MAX, "max")[0].subject)
    about_erika = replace(about_max, subject=report(ERIKA, "erika")[0].subject)
    syncing.feed.says([batch(*report(ERIKA, "erika"))], [batch(about_max)], [batch(about_erika)])
    ended = [sum(one.deleted for one in syncing.run_feed()) for _ in range(3)]
    assert ended == [0, 0, 1]


# --- what belongs to nobody known


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (skipped("file/broken.ldt", Reason.TRUNCATED, b"0138000"), "truncated"),
        (found(observation("o-nobody")), "no-subject"),
    ],
    ids=["a broken file", "a resource without subject"],
)
def test_what_says_nothing_of_a_person_is_quarantined_at_the_feed(syncing: SyncWorld, item: Item, reason: str) -> None:
    syncing.verify()
    syncing.feed.says([batch(item)])
    outcomes = by_vault(syncing.run_feed())
    assert outcomes == {syncing.world.vault: (0, 0, 0, "fresh"), None: (1, 0, 1, "fresh")}
    with syncing.store.read() as session:
        (row,) = session.exec(select(Quarantine)).all()
    assert (row.owner, row.reason) == (feed_id(syncing.world.worker, "labor").hex(), reason)
    assert b"broken.ldt" not in syncing.raw()
    assert syncing.opened() == []


def test_a_retry_clears_the_feeds_quarantine_of_what_was_mended(syncing: SyncWorld) -> None:
    syncing.feed.says([batch(skipped("file/a"), skipped("file/b"), cursor="5")], [batch(skipped("file/b"))])
    syncing.run_feed()
    assert by_vault(syncing.run_feed(again=True)) == {None: (1, 0, 1, "fresh")}
    assert syncing.feed.cursors == [None, None]


def test_a_route_whose_connection_is_gone_keeps_nobody_else_waiting(syncing: SyncWorld) -> None:
    owner = max_owner(syncing)
    connection = syncing.verify()
    syncing.verify(owner, MAX)
    syncing.world.sql("DELETE FROM connection WHERE id = ?", connection)
    syncing.feed.says([batch(*report(ERIKA, "erika"), *report(MAX, "max"))])
    assert by_vault(syncing.run_feed()) == {owner.vault: (2, 2, 0, "fresh"), None: (0, 0, 0, "fresh")}


def test_a_broken_item_of_a_known_person_stands_aside_with_that_person(syncing: SyncWorld) -> None:
    wrong: Resource = observation("o-erika", patient="Patient/erika") | {"status": "perhaps"}
    syncing.verify()
    syncing.feed.says([batch(found(patient(ERIKA, "erika"), ERIKA), found(wrong, ERIKA))])
    assert by_vault(syncing.run_feed())[syncing.world.vault] == (2, 1, 1, "fresh")
    (aside,) = syncing.opened()
    assert (aside["reason"], "perhaps" in aside["raw"]) == ("invalid", True)


# --- order of commits, and one vault's trouble


def cursor(syncing: SyncWorld) -> Cursor | None:
    row = feed_row(syncing)
    made: Cursor | None = syncing.worker.state("", row.id.hex(), row.state)["cursor"]
    return made


@pytest.mark.attack(48)
@pytest.mark.parametrize("number", [2, 3, 4])
def test_killed_between_two_vaults_the_cursor_waits_and_nothing_is_doubled(syncing: SyncWorld, number: int) -> None:
    """Commits of a run: the claim, each vault, the feed's cursor, the end."""
    owner = max_owner(syncing)
    syncing.verify()
    syncing.verify(owner, MAX)
    syncing.feed.says([batch(*report(ERIKA, "erika", 1), *report(MAX, "max", 2), cursor="1")])
    with broken_commits(number), pytest.raises(KilledHere):
        syncing.run_feed()
    assert cursor(syncing) is None
    assert len(stored(syncing) + stored(syncing, owner)) == number - 2
    with syncing.store.write() as session:
        session.exec(update(Feed).values(lease_until=0.0))
    syncing.run_feed()
    assert (stored(syncing), stored(syncing, owner), cursor(syncing)) == ([1], [2], "1")
    assert {len(versions) for versions in syncing.record()["results"].values()} == {1}


def test_a_vault_that_cannot_be_written_holds_back_its_own_items_and_the_cursor(syncing: SyncWorld) -> None:
    owner = max_owner(syncing)
    syncing.verify()
    syncing.verify(owner, MAX)
    syncing.feed.says([batch(*report(ERIKA, "erika", 1), *report(MAX, "max", 2), cursor="1")])
    with syncing.store.write() as session:
        row = session.exec(select(tables.Mandate).where(tables.Mandate.vault == syncing.world.vault)).one()
        whole, row.box = row.box, row.box[:-1] + bytes([row.box[-1] ^ 1])
    outcomes = by_vault(syncing.run_feed())
    assert outcomes[syncing.world.vault] == (0, 0, 0, "broken")
    assert outcomes[owner.vault] == (2, 2, 0, "fresh")
    assert (stored(syncing), stored(syncing, owner), cursor(syncing)) == ([], [2], None)
    with syncing.store.write() as session:
        session.exec(update(tables.Mandate).where(col(tables.Mandate.id) == row.id).values(box=whole))
    assert by_vault(syncing.run_feed())[syncing.world.vault] == (2, 2, 0, "fresh")
    assert (stored(syncing), cursor(syncing)) == ([1], "1")


def test_a_feed_that_fails_is_told_to_all_it_serves(syncing: SyncWorld) -> None:
    connection = syncing.verify()
    syncing.feed.says([batch(*report(ERIKA, "erika")), ValueError("unexpected")])
    assert by_vault(syncing.run_feed())[syncing.world.vault] == (2, 2, 0, "broken")
    assert (syncing.row(connection).status, feed_row(syncing).failures) == ("broken", 1)


def test_a_mandate_that_ended_receives_nothing_more_and_stops_nobody(syncing: SyncWorld) -> None:
    owner = max_owner(syncing)
    connection = syncing.verify()
    syncing.verify(owner, MAX)
    syncing.end(connection)
    syncing.feed.says([batch(*report(ERIKA, "erika", 1), *report(MAX, "max", 2), cursor="1")])
    syncing.run_feed()
    assert (stored(syncing), stored(syncing, owner), cursor(syncing)) == ([], [2], "1")
    with syncing.store.read() as session:
        assert session.exec(select(Route).where(Route.connection == connection)).all() == []


def test_a_mandate_that_ends_in_mid_run_receives_nothing_more(syncing: SyncWorld) -> None:
    def end_mandate() -> None:
        """Its row alone: the route is known to the run already."""
        with syncing.store.write() as session:
            session.exec(update(tables.Mandate).values(ended=True))

    syncing.verify()
    syncing.feed.says(
        [
            batch(*report(ERIKA, "erika", 1), cursor="1"),
            end_mandate,
            batch(found(observation("o-late", 2, "Patient/erika"), ERIKA), cursor="2"),
        ]
    )
    syncing.run_feed()
    assert (stored(syncing), cursor(syncing)) == ([1], "2")
