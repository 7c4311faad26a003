"""Whose an item is where it names more than one person: nobody's, and set aside at the feed alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlmodel import select

from aggregator.consent.mandate import Person
from aggregator.identity.accounts import Owner
from aggregator.sync.routes import _numbers, feed_id
from aggregator.sync.tables import Quarantine
from connectors.contract import Found, Identifier, Reason, Subject
from fhir_profiles import codes
from tests.sync.sync_world import SyncWorld, batch, found, observation, patient, skipped
from tests.sync.test_feeds import MAX, NO_NUMBER, feed_row, max_owner, report, stored
from tests.vault.world import ERIKA
from tests.weaken import weakens


def named(items: list[Found], subject: Subject) -> list[Found]:
    return [replace(item, subject=subject) for item in items]


def brought(syncing: SyncWorld, owner: Owner | None = None) -> int:
    """How many resources a vault holds beside its own Patient."""
    return sum(map(len, syncing.record(owner).values())) - 1


def one_number(subject: Subject) -> set[str]:
    """A weakened build looks at one of the numbers, whichever."""
    return set(sorted(_numbers(subject))[:1])


def at_the_feed(syncing: SyncWorld) -> list[str]:
    """The reasons of what stands aside at the feed; nothing stands aside anywhere else."""
    with syncing.store.read() as session:
        rows = session.exec(select(Quarantine)).all()
    assert {row.owner for row in rows} <= {feed_id(syncing.world.worker, "labor").hex()}
    assert {row.payload for row in rows} <= {None}
    return sorted(row.reason for row in rows)


SAME_DAY = replace(MAX, birth_date=ERIKA.birth_date)
MIXED = {
    "her number, his name and birth date": (MAX, replace(MAX, kvnr=ERIKA.kvnr)),
    "her number and name, another birth date": (MAX, replace(ERIKA, birth_date="1961-02-28")),
    "her number, the name of one who was born on the same day": (SAME_DAY, replace(SAME_DAY, kvnr=ERIKA.kvnr)),
}


@pytest.mark.attack(57)
@weakens("aggregator.sync.routes", "_contradicted", lambda *_: False)
@pytest.mark.parametrize(("other", "who"), MIXED.values(), ids=MIXED)
def test_a_number_that_the_rest_contradicts_is_nobodys(syncing: SyncWorld, other: Person, who: Person) -> None:
    owner = max_owner(syncing, other)
    syncing.verify()
    syncing.verify(owner, other)
    syncing.feed.says([batch(*report(who, "mixed"))])
    outcomes = syncing.run_feed()
    assert (brought(syncing), brought(syncing, owner)) == (0, 0)
    assert at_the_feed(syncing) == ["other-person", "other-person"]
    assert {one.vault: (one.found, one.quarantined) for one in outcomes if one.vault} == {
        syncing.world.vault: (0, 0),
        owner.vault: (0, 0),
    }


def test_a_new_family_name_with_the_same_number_and_birth_date_contradicts_nothing(syncing: SyncWorld) -> None:
    syncing.verify()
    syncing.feed.says([batch(*report(replace(ERIKA, family="Verheiratet"), "married"))])
    syncing.run_feed()
    assert (stored(syncing), at_the_feed(syncing)) == ([7], [])


def test_who_shares_a_name_and_birth_date_keeps_what_their_number_says(syncing: SyncWorld) -> None:
    twin = replace(ERIKA, kvnr=MAX.kvnr)
    owner = max_owner(syncing, twin)
    syncing.verify()
    syncing.verify(owner, twin)
    syncing.feed.says([batch(*report(ERIKA, "erika", 1), *report(twin, "twin", 2))])
    syncing.run_feed()
    assert (stored(syncing), stored(syncing, owner), at_the_feed(syncing)) == ([1], [2], [])


@pytest.mark.attack(57)
@weakens("aggregator.sync.routes", "_numbers", one_number)
def test_an_item_with_two_numbers_is_nobodys(syncing: SyncWorld) -> None:
    syncing.verify()
    numbers = tuple(Identifier(codes.KVNR, str(person.kvnr)) for person in (ERIKA, MAX))
    both = Subject(identifiers=numbers, family=ERIKA.family, given=ERIKA.given, birth_date=ERIKA.birth_date)
    syncing.feed.says([batch(*named(report(ERIKA, "both"), both))])
    syncing.run_feed()
    assert (brought(syncing), syncing.opened(), at_the_feed(syncing)) == (0, [], ["other-person", "other-person"])


@pytest.mark.attack(57)
@weakens("aggregator.sync.feeds", "SOMEBODY_ELSES", frozenset())
def test_an_item_whose_content_is_another_persons_does_not_show_with_its_subject(syncing: SyncWorld) -> None:
    """The subject says Erika; what is inside says Max, or is skipped as another's by the connector itself."""
    connection = syncing.verify()
    stray = found(observation("o-max", 9, "Patient/max"), ERIKA)
    syncing.feed.says(
        [
            batch(
                *report(ERIKA, "erika"),
                found(patient(MAX, "max"), ERIKA),
                stray,
                skipped("file/mixed", Reason.OTHER_PERSON, b"", ERIKA),
            )
        ]
    )
    (own,) = [one for one in syncing.run_feed() if one.vault]
    assert (stored(syncing), syncing.opened()) == ([7], [])
    assert (own.connection, own.found, own.stored, own.quarantined) == (connection, 2, 2, 0)
    assert at_the_feed(syncing) == ["other-person"] * 3


@pytest.mark.parametrize(
    "subject",
    [
        Subject(family="Beispielmann"),
        Subject(family="Beispielmann", given="Erika", birth_date="1957"),
        Subject(identifiers=(Identifier("urn:practice", "4711"),)),
    ],
    ids=["a family name", "a year of birth", "the practice's own number"],
)
def test_who_says_too_little_is_nobody(syncing: SyncWorld, subject: Subject) -> None:
    syncing.verify()
    syncing.feed.says([batch(*named(report(NO_NUMBER, "short"), subject))])
    syncing.run_feed()
    assert (brought(syncing), at_the_feed(syncing)) == (0, ["no-subject", "no-subject"])
    assert feed_row(syncing).waiting == 0


def test_what_stood_aside_and_comes_again_whole_stands_aside_no_more(syncing: SyncWorld) -> None:
    syncing.verify()
    numberless = [replace(item, subject=None) for item in report(ERIKA, "erika")]
    syncing.feed.says([batch(*numberless)], [batch(*report(ERIKA, "erika"))])
    syncing.run_feed()
    assert at_the_feed(syncing) == ["no-subject", "no-subject"]
    syncing.run_feed()
    assert (stored(syncing), at_the_feed(syncing)) == ([7], [])


def test_what_waits_at_the_source_is_still_counted_when_the_cursor_has_passed_it(syncing: SyncWorld) -> None:
    syncing.feed.says([batch(*report(ERIKA, "erika"), cursor="1")], [batch(*report(MAX, "max"), cursor="2")])
    syncing.run_feed()
    syncing.run_feed()
    assert feed_row(syncing).waiting == 4
    syncing.feed.says([batch(*report(ERIKA, "erika"), *report(MAX, "max"), cursor="2")])
    syncing.verify()
    syncing.run_feed()
    assert feed_row(syncing).waiting == 2
