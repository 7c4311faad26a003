"""What becomes of the grants whenever a Consent is signed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from aggregator.consent.decide import Party
from aggregator.consent.grant import open_grant
from aggregator.errors import Refused
from aggregator.identity.grant_archive import archived
from aggregator.identity.grants import Grants
from fhir_profiles.profiles import SECTION_SYSTEM
from tests.identity.granted import Killed, grants, in_force, intents, local, version
from tests.vault.world import DR_B, LABORATORY, World, consent
from tests.weaken import weakens

RESULTS: dict[str, Any] = {"class": [{"system": SECTION_SYSTEM, "code": "results"}]}


def test_each_party_whom_a_consent_opens_something_has_one_grant(world: World) -> None:
    world.permit(DR_B, LABORATORY)
    world.permit(DR_B)
    assert set(grants(world)) == {DR_B.id, LABORATORY.id}
    assert {orjson.loads(row.certificate)["version"] for row in grants(world).values()} == {2}
    assert version(world) == 2


def test_a_grant_holds_the_seeds_of_the_sections_it_opens_and_no_other(world: World) -> None:
    world.permit(LABORATORY, **RESULTS)
    assert set(world.opened(LABORATORY).seeds) == {"results", "directory"}


def test_a_consent_that_is_not_active_opens_nothing(world: World) -> None:
    for status in ("draft", "proposed", "rejected", "inactive", "entered-in-error"):
        world.signing.save_consent(world.owner, consent([DR_B]) | {"status": status})
    assert grants(world) == {}


@pytest.mark.attack(25)
@weakens("aggregator.vault.key_ring.KeyRing", "destroy_grant", lambda *_, **__: None)
def test_revoking_takes_the_row_and_the_key_so_that_an_old_copy_opens_nothing(world: World) -> None:
    given = world.permit()
    old, ticket = world.grant(), world.ticket()
    open_grant(old, world.ring, ticket, world.opening(), world.clock())
    world.signing.save_consent(world.owner, given | {"status": "inactive"}, local(given))
    assert (grants(world), intents(world)) == ({}, 0)
    with pytest.raises(Refused, match="the key service holds no such key"):
        open_grant(old, world.ring, ticket, world.opening(), world.clock())
    assert f"grant {world.vault} {old.id} " in (world.folder / "keys" / "destroyed").read_text()


@pytest.mark.attack(25)
@weakens("aggregator.vault.key_ring.KeyRing", "destroy_grant", lambda *_, **__: None)
def test_what_is_compiled_anew_ends_the_grant_before_it(world: World) -> None:
    world.permit()
    old = world.grant()
    world.permit(LABORATORY)
    assert world.grant().id != old.id
    with pytest.raises(Refused):
        open_grant(old, world.ring, world.ticket(), world.opening(), world.clock())


@pytest.mark.attack(48)
@weakens("aggregator.identity.grants.Grants", "finish_revocations", lambda _: None)
def test_a_crash_between_commit_and_destroying_is_finished_at_the_next_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = world.permit()
    old = world.grant()

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(world.ring, "destroy_grant", killed)
        with pytest.raises(Killed):
            world.signing.save_consent(world.owner, given | {"status": "inactive"}, local(given))
    assert (grants(world), intents(world)) == ({}, 1)
    Grants(world.store, world.ring, world.accounts, [DR_B], world.clock).finish_revocations()
    assert intents(world) == 0
    with pytest.raises(Refused):
        open_grant(old, world.ring, world.ticket(), world.opening(), world.clock())


@pytest.mark.attack(48)
def test_a_crash_before_the_commit_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    given = world.permit()

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("aggregator.identity.grants.compile_grants", killed)
        with pytest.raises(Killed):
            world.signing.save_consent(world.owner, given | {"status": "inactive"}, local(given))
    assert (version(world), intents(world)) == (1, 0)
    assert world.opened().version == 1


def test_every_grant_version_stays_in_the_archive(world: World) -> None:
    first = world.permit()
    second = world.permit(LABORATORY)
    world.grants.end(world.owner, DR_B.id)
    world.signing.save_consent(world.owner, first | {"status": "inactive"}, local(first))
    both = sorted((first["id"], second["id"]))
    assert [sorted(in_force(world, number)) for number in range(7)] == [[], [first["id"]], *[both] * 4, []]
    with world.store.read() as session:
        statuses = [one["status"] for one in archived(session, world.ring, world.owner, 5) if one["id"] == first["id"]]
    assert statuses == ["inactive"]


def test_who_comes_after_the_consent_that_names_them_has_a_grant_from_the_next_owner_session_on(world: World) -> None:
    later = Party("later", frozenset({("https://fhir.kbv.de/NamingSystem/KBV_NS_Base_ANR", "123456701")}))
    registered = [DR_B]
    own = Grants(world.store, world.ring, world.accounts, registered, world.clock)
    world.permit(DR_B, later)
    assert set(grants(world)) == {DR_B.id}
    assert not own.settle(world.owner)
    registered.append(later)
    assert own.settle(world.owner)
    assert (own.holds(world.vault, DR_B), own.holds(world.vault, later)) == (True, True)
    assert not own.settle(world.owner)
    epoch = world.epoch
    own.end(world.owner, later.id)
    assert world.epoch > epoch
    assert not own.settle(world.owner)  # who was ended is not let in again by being there
    assert (own.holds(world.vault, DR_B), own.holds(world.vault, later)) == (True, False)
