"""The worker that syncs at three in the morning cannot read what it wrote yesterday."""

from __future__ import annotations

import pytest
from sqlmodel import select

from aggregator.errors import Tampered
from aggregator.sync.tables import Connection
from aggregator.vault import tables
from aggregator.vault.envelope import claim, open_envelope
from aggregator.vault.keys import SectionSeed
from aggregator.vault.seal import PrivateKey, header
from tests.sync.sync_world import SyncWorld, batch, condition, observation, patient
from tests.weaken import weakens
from tests.weakened import Plain

CANARIES = (b"Beispielmann", b"X110411675", b"1957-08-13", b"4548-4", b"F32.1", b"mental-health", b"klinik", b"/fhir/")


@pytest.fixture
def synced(syncing: SyncWorld) -> SyncWorld:
    fill(syncing)
    return syncing


def fill(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), observation(), condition("F32.1"))])
    syncing.run(syncing.connect())


def envelopes(synced: SyncWorld) -> list[bytes]:
    with synced.store.read() as session:
        return [row.envelope for row in session.exec(select(tables.LogEntry))]


@pytest.mark.attack(29)
def test_with_its_own_keys_its_mandate_and_the_whole_database_it_opens_nothing(synced: SyncWorld) -> None:
    with synced.store.read() as session:
        mandate = synced.worker.open(session, session.exec(select(Connection)).one())
    held = [mandate.writer.seed, mandate.ids.key, mandate.expected.key]
    held += [mandate.ledger_keys[:32], mandate.ledger_keys[32:]]
    written = [envelope for envelope in envelopes(synced) if claim(envelope).writer == mandate.id]
    assert len(written) == 3
    for envelope in written:
        stated = claim(envelope)
        head = header("envelope", synced.world.vault, section=stated.section, epoch=1, writer=mandate.id, number=1)
        for key in held:
            with pytest.raises(Tampered):
                PrivateKey(key).open(head, envelope[:-96])
            seed = SectionSeed(stated.section, stated.epoch, key)
            with pytest.raises(Tampered):
                open_envelope(synced.world.vault, envelope[:-96], seed, mandate.id, 1)
        with pytest.raises(Tampered):
            synced.world.worker.open(head, envelope[:-96])


@pytest.mark.attack(29)
def test_the_patient_opens_what_the_worker_wrote(synced: SyncWorld) -> None:
    assert set(synced.record()) == {"identity", "mental-health", "results"}


@pytest.mark.attack(20, 32)
@weakens("aggregator.vault.seal", "AESGCM", Plain, about=(20,))
def test_neither_content_nor_section_nor_source_lies_open(syncing: SyncWorld) -> None:
    fill(syncing)
    stored = syncing.raw()
    assert [canary for canary in CANARIES if canary in stored] == []
