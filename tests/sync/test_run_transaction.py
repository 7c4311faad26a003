"""What a run does inside its transaction and what before it; and what holds a connection's settings together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import col, update

from aggregator.errors import Refused
from aggregator.sync import normalise, writing
from aggregator.sync.tables import Activation, Connection
from aggregator.vault import ledger, log, tables
from connectors.contract import Item
from fhir_profiles.text import Resource
from tests import databases
from tests.sync.sync_world import SyncWorld, batch, found, observation, patient, skipped
from tests.vault.world import ERIKA
from tests.weaken import weakens
from tests.weakened import any_header, without_its_end

OURS: list[Item | Resource] = [patient(), observation(), observation("o2", value="7"), skipped("file/a")]


@pytest.fixture
def seen(syncing: SyncWorld, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[bool]]:
    """Step -> was the database held for writing when it ran?"""
    told: dict[str, set[bool]] = {}

    def watch(module: Any, name: str) -> None:
        whole: Callable[..., Any] = getattr(module, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            told.setdefault(name, set()).add(databases.is_written(syncing.store))
            return whole(*arguments, **named)

        monkeypatch.setattr(module, name, watched)

    watch(normalise, "check")
    watch(writing, "seal")
    watch(log, "append")
    watch(ledger, "save")
    return told


APART = {"check": {False}, "seal": {False}, "append": {True}, "save": {True}}


def test_a_batch_is_checked_and_sealed_while_others_may_write(syncing: SyncWorld, seen: dict[str, set[bool]]) -> None:
    """A receipt waits for no sealing: a page of thousands takes seconds."""
    connection = syncing.connect()
    syncing.clinic.says([batch(*OURS)])
    assert syncing.run(connection).stored == 2
    assert seen == APART


def test_a_feeds_items_are_checked_and_sealed_while_others_may_write(
    syncing: SyncWorld, seen: dict[str, set[bool]]
) -> None:
    syncing.verify()
    syncing.feed.says([batch(found(patient(), ERIKA), found(observation(), ERIKA))])
    assert [one.stored for one in syncing.run_feed()] == [2, 0]
    assert seen == APART


# --- settings hold under the mandate that they were given with


def test_connecting_anew_seals_the_settings_for_the_new_mandate(syncing: SyncWorld) -> None:
    connection = syncing.connect()
    before = syncing.row(connection)
    assert syncing.connect() == connection
    row = syncing.row(connection)
    assert row.mandate != before.mandate
    assert syncing.worker.settings(row) == {"authority": "klinik", "account": {"account": "erika"}}


@pytest.mark.attack(21, 24)
@weakens("aggregator.vault.seal", "_split", any_header, about=(21,))
def test_settings_of_another_mandate_are_none(syncing: SyncWorld) -> None:
    """Who writes the database puts back an older account's address and token."""
    connection = syncing.connect()
    old = syncing.row(connection).settings
    syncing.connect()
    with syncing.store.write() as session:
        session.exec(update(Connection).where(col(Connection.id) == connection).values(settings=old))
    assert syncing.run(connection).status == "broken"
    assert syncing.clinic.cursors == []


@pytest.mark.attack(21)
@weakens("aggregator.consent.mandate", "_certificate", without_its_end)
def test_a_mandate_that_ended_is_not_revived_by_a_flag(syncing: SyncWorld) -> None:
    connection = syncing.connect()
    syncing.connections.end(syncing.world.vault, connection, syncing.world.owner.root)
    with syncing.store.write() as session:
        session.exec(update(Connection).values(ended=False))
        session.exec(update(tables.Mandate).values(ended=False))
    outcome = syncing.run(connection)
    assert (outcome.status, outcome.error) == ("late", "the mandate of this connection has ended")
    assert syncing.clinic.cursors == []


@pytest.mark.attack(24)
def test_an_activation_codes_life_is_not_the_databases_to_lengthen(syncing: SyncWorld) -> None:
    code = syncing.connections.issue_code("labor", ERIKA)
    syncing.clock.advance(days=30, seconds=1)
    with syncing.store.write() as session:
        session.exec(update(Activation).values(expires=9e9))
    with pytest.raises(Refused, match="this activation code is not valid"):
        syncing.connections.redeem(syncing.world.signing.signer(syncing.fresh()), code)
