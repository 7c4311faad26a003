"""What is too long goes to a blob: once, into its parent's section, and away with it."""

from __future__ import annotations

import base64
import hashlib
import random
import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest

from aggregator.errors import BlobsUnreachable
from aggregator.sync.attached import LONGEST, decoded, take_out
from aggregator.vault import blob, blob_rows, view
from aggregator.vault.blob_rows import Sweeper
from aggregator.vault.blob_store import LocalBlobs
from aggregator.vault.envelope import Delete, Put
from fhir_profiles import codes
from fhir_profiles.text import Resource, dumps, loads
from tests.sync.sync_world import SyncWorld, batch, deleted, patient
from tests.weaken import weakens

PDF = random.Random(1).randbytes(70_000)
SCAN = random.Random(2).randbytes(90_001)


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


def document(*texts: bytes | str, source_id: str = "d1", **more: Any) -> Resource:
    content = [
        {"attachment": {"contentType": "application/pdf", "title": "Brief"} | _told(text)} for text in texts or (PDF,)
    ]
    return {
        "resourceType": "DocumentReference",
        "id": source_id,
        "status": "current",
        "subject": {"reference": "Patient/p1"},
        "type": {"coding": [{"system": codes.LOINC, "code": "11490-0"}]},
        "content": content,
    } | more


def _told(text: bytes | str) -> dict[str, str]:
    return {"url": text} if isinstance(text, str) else {"data": encoded(text)}


def puts(syncing: SyncWorld) -> dict[str, list[Put | Delete]]:
    """Section -> every version there is of a Binary, of whichever number, in order."""
    owner = syncing.world.owner
    state = view.read_truth(syncing.store, owner.vault, view.owner(owner.root, owner.sections, owner.patient))
    found = {
        name: [
            version.operation
            for versions in resources.values()
            for version in versions
            if version.operation.resource_type == "Binary"
        ]
        for name, resources in state.sections.items()
    }
    return {name: versions for name, versions in found.items() if versions}


def newest(syncing: SyncWorld) -> list[Put]:
    owner = syncing.world.owner
    state = view.read_truth(syncing.store, owner.vault, view.owner(owner.root, owner.sections, owner.patient))
    return [put for _, put in state.current() if put.resource_type == "Binary"]


def data(syncing: SyncWorld, put: Put) -> bytes:
    assert put.blob
    return b"".join(blob.read(syncing.world.blobs, syncing.world.vault, put.blob))


def stored(syncing: SyncWorld) -> set[str]:
    return {name for name, _ in syncing.world.blobs.ids()}


def test_long_data_goes_to_a_blob_and_a_binary_in_the_same_section_stands_for_it(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), document())])
    outcome = syncing.run(syncing.connect())
    assert (outcome.found, outcome.stored) == (2, 2)
    vault = syncing.world.vault
    whole = syncing.resource("DocumentReference/d1")
    (section,) = syncing.versions("DocumentReference/d1")
    [(found, (put,))] = puts(syncing).items()
    assert (found, isinstance(put, Put)) == (section, True)
    assert whole["content"][0]["attachment"] == {
        "contentType": "application/pdf",
        "title": "Brief",
        "url": f"Binary/{vault}.{put.local}",
        "size": len(PDF),
    }
    assert isinstance(put, Put)
    made = loads(put.resource)
    assert made == {
        "resourceType": "Binary",
        "id": f"{vault}.{put.local}",
        "meta": {"versionId": "1", "lastUpdated": put.updated, "source": "urn:aggregator:source:klinik"},
        "contentType": "application/pdf",
        "securityContext": {"reference": f"DocumentReference/{whole['id']}"},
    }
    assert data(syncing, put) == PDF
    assert put.blob
    assert (put.blob.size, put.blob.sha256) == (len(PDF), hashlib.sha256(PDF).hexdigest())
    assert stored(syncing) == {put.blob.id} == set(blob_rows.named(syncing.store))
    assert blob_rows.stored_bytes(syncing.store) == blob.stored_size(vault, len(PDF))


def test_what_is_short_or_lies_elsewhere_too_stays(syncing: SyncWorld) -> None:
    short = document(PDF[: LONGEST // 4 * 3], source_id="d2")
    both = document(PDF, source_id="d3")
    both["content"][0]["attachment"]["url"] = "https://klinik.example/brief.pdf"
    syncing.clinic.says([batch(patient(), short, both)])
    syncing.run(syncing.connect())
    for given in (short, both):
        assert syncing.resource(f"DocumentReference/{given['id']}")["content"] == given["content"]
    assert (puts(syncing), stored(syncing)) == ({}, set())


def test_an_unchanged_one_is_not_stored_again(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), document())], [batch(patient(), document(), cursor="2")])
    connection = syncing.connect()
    syncing.run(connection)
    before = stored(syncing)
    assert syncing.run(connection).stored == 0
    assert stored(syncing) == before


def test_a_changed_parent_keeps_the_blobs_that_are_as_they_were(syncing: SyncWorld) -> None:
    changed = document(PDF, SCAN, description="corrected")
    syncing.clinic.says([batch(patient(), document(PDF, PDF[:60_000]))], [batch(patient(), changed, cursor="2")])
    connection = syncing.connect()
    syncing.run(connection)
    before = {put.local: put for put in newest(syncing)}
    syncing.run(connection)
    after = {put.local: put for put in newest(syncing)}
    assert before.keys() == after.keys()
    assert sorted(put.version for put in after.values()) == [1, 2]
    assert {data(syncing, put) for put in after.values()} == {PDF, SCAN}
    kept = [local for local in before if before[local] == after[local]]
    assert len(kept) == 1
    assert len(stored(syncing)) == 3


def test_what_a_parent_no_longer_has_ends_and_what_comes_back_is_there_again(syncing: SyncWorld) -> None:
    steps = [document(PDF, SCAN), document(PDF), document(PDF, SCAN, description="again")]
    syncing.clinic.says(*([batch(patient(), step, cursor=str(n))] for n, step in enumerate(steps)))
    connection = syncing.connect()
    counts = []
    for _ in steps:
        syncing.run(connection)
        counts.append(sorted((put.version, len(data(syncing, put))) for put in newest(syncing)))
    assert counts == [[(1, 70_000), (1, 90_001)], [(1, 70_000)], [(1, 70_000), (3, 90_001)]]


@pytest.mark.parametrize("how", ["told", "unlisted"])
def test_it_ends_with_its_parent(syncing: SyncWorld, how: str) -> None:
    gone = batch(deleted("DocumentReference/d1"), cursor="2")
    if how == "unlisted":
        gone = batch(patient(), cursor="2", listed=["Patient/p1"])
    syncing.clinic.says([batch(patient(), document())], [gone], [batch(patient(), document(), cursor="3")])
    connection = syncing.connect()
    syncing.run(connection)
    assert syncing.run(connection).deleted == 1
    assert newest(syncing) == []
    syncing.run(connection)
    (put,) = newest(syncing)
    assert (put.version, data(syncing, put)) == (3, PDF)


def test_a_full_listing_that_names_the_parent_keeps_it(syncing: SyncWorld) -> None:
    listed = ["Patient/p1", "DocumentReference/d1"]
    syncing.clinic.says([batch(patient(), document(), listed=listed)])
    connection = syncing.connect()
    syncing.run(connection)
    syncing.run(connection)
    assert len(newest(syncing)) == 1


def test_it_moves_with_its_parent_under_a_new_key(syncing: SyncWorld) -> None:
    moved = document(meta={"security": [{"system": codes.ACT_CODE, "code": "PSY"}]})
    syncing.clinic.says([batch(patient(), document())], [batch(patient(), moved, cursor="2")])
    connection = syncing.connect()
    syncing.run(connection)
    [(first, (before,))] = puts(syncing).items()
    syncing.run(connection)
    [(second, (after,))] = puts(syncing).items()
    assert first != second
    assert isinstance(before, Put)
    assert isinstance(after, Put)
    assert (after.local, after.version) == (before.local, 2)
    assert before.blob
    assert after.blob
    assert before.blob.key != after.blob.key


def test_a_binary_of_the_sources_own_has_its_data_in_a_blob(syncing: SyncWorld) -> None:
    given = {"resourceType": "Binary", "id": "b1", "contentType": "application/pdf", "data": encoded(PDF)}
    given["securityContext"] = {"reference": "Patient/p1"}
    syncing.clinic.says([batch(patient(), given)])
    outcome = syncing.run(syncing.connect())
    assert outcome.quarantined == 0
    (put,) = newest(syncing)
    assert data(syncing, put) == PDF
    assert "data" not in loads(put.resource)


def test_a_commit_that_fails_leaves_objects_that_are_swept_after_a_day(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), document())])
    connection = syncing.connect()
    syncing.clinic.pulls[0] = [lambda: syncing.take_lease(connection), *syncing.clinic.pulls[0]]
    assert syncing.run(connection).stored == 0
    assert set(blob_rows.named(syncing.store)) == set()
    (left,) = syncing.world.blobs.ids()
    sweeper, day = Sweeper(syncing.store, syncing.world.blobs), 25 * 3600
    assert [sweeper.sweep(left[1] + 3600, at) for at in (0.0, 9_999.0)] == [0, 0]
    assert [sweeper.sweep(left[1] + day, at) for at in (0.0, 3_000.0, 4_000.0)] == [0, 0, 1]
    assert stored(syncing) == set()


@pytest.mark.attack(50)
@weakens("aggregator.vault.blob_rows", "_HOUR", -1.0)
def test_a_clock_put_forward_does_not_sweep_what_is_still_to_be_committed(syncing: SyncWorld) -> None:
    sweeper = Sweeper(syncing.store, syncing.world.blobs)

    def swept() -> None:
        assert sweeper.sweep(time.time() + 40 * 24 * 3600, time.monotonic()) == 0

    syncing.clinic.says([batch(patient(), document())])
    whole = LocalBlobs.put

    def put(store: LocalBlobs, name: str, parts: Any) -> None:
        whole(store, name, parts)
        swept()

    with patch.object(LocalBlobs, "put", put):
        syncing.run(syncing.connect())
    assert newest(syncing)
    assert data(syncing, newest(syncing)[0]) == PDF
    swept()


def test_the_sweep_spares_what_a_row_names(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), document(PDF, SCAN))])
    syncing.run(syncing.connect())
    before = stored(syncing)
    sweeper = Sweeper(syncing.store, syncing.world.blobs)
    assert [sweeper.sweep(time.time() + 1e9, at) for at in (0.0, 9_999.0)] == [0, 0]
    assert stored(syncing) == before


def test_a_snapshot_lets_go_the_rows_of_what_nothing_names(syncing: SyncWorld) -> None:
    """What moved is named by its history; what was removed and went nowhere has none."""
    label = {"meta": {"security": [{"system": codes.ACT_CODE, "code": "PSY"}]}}
    syncing.clinic.says([batch(patient(), document(PDF, SCAN))], [batch(patient(), document(PDF, **label), cursor="2")])
    connection = syncing.connect()
    syncing.run(connection)
    syncing.run(connection)
    assert len(set(blob_rows.named(syncing.store))) == 3
    syncing.world.open()
    (put,) = newest(syncing)
    assert put.blob
    left = set(blob_rows.named(syncing.store))
    assert (len(left), put.blob.id in left) == (2, True)


@pytest.mark.attack(26)
@weakens("aggregator.vault.blob_rows", "erase", lambda _session, _vault: [])
def test_erasing_a_vault_names_the_objects_to_delete(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), document(PDF, SCAN))])
    syncing.run(syncing.connect())
    with syncing.store.write() as session:
        ids = blob_rows.erase(session, syncing.world.vault)
    assert set(ids) == stored(syncing)
    assert set(blob_rows.named(syncing.store)) == set()


def test_a_store_that_does_not_answer_makes_the_source_late_and_loses_nothing(
    syncing: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> None:
        raise BlobsUnreachable("blobs.url: the store does not answer")

    syncing.clinic.says([batch(patient(), document())])
    connection = syncing.connect()
    with monkeypatch.context() as patch:
        patch.setattr(LocalBlobs, "put", silent)
        assert (syncing.run(connection).status, syncing.row(connection).error) == (
            "late",
            "blobs.url: the store does not answer",
        )
    assert syncing.run(connection).stored == 2


def test_data_with_white_space_and_in_an_extension_is_taken_as_well() -> None:
    lines = "\n".join(encoded(PDF)[at : at + 76] for at in range(0, 93_336, 76))
    extension = {"url": "urn:x", "valueAttachment": {"data": lines}}
    given: Resource = {"resourceType": "Basic", "id": "v.x", "meta": {}, "extension": [extension]}
    (one,) = take_out(given, "v", lambda number: f"n{number}")
    assert given["extension"][0]["valueAttachment"] == {"url": "Binary/v.n0", "size": len(PDF)}
    assert b"".join(decoded(one.data)) == PDF
    assert one.resource["contentType"] == "application/octet-stream"


def every_data(node: Any) -> Iterator[dict[str, Any]]:
    """Whatever holds something called data, of whatever type."""
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from every_data(child)
    if isinstance(node, dict) and "data" in node:
        yield node


@pytest.mark.attack(46)
@weakens("aggregator.sync.attached", "attachments", every_data)
def test_a_data_element_that_is_no_attachments_is_left_alone() -> None:
    given = {"resourceType": "Basic", "id": "v.x", "meta": {}, "text": {"data": "A" * 40_000}, "data": ["A" * 40_000]}
    before = dumps(given)
    assert take_out(given, "v", str) == ()
    assert dumps(given) == before
