"""A record with everything in it: history, ends, a move, attachments, an ended Consent, receipts, items set aside."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from aggregator.audit.receipts import ReceiptWriter
from aggregator.identity.accounts import Owner
from aggregator.identity.grants import Grants
from aggregator.identity.signing import Signing
from aggregator.portability.archive import File
from aggregator.portability.export import Place, export
from aggregator.portability.imported import Imported, import_record
from aggregator.vault.key_ring import KeyRing
from aggregator.vault.keys import Root
from aggregator.vault.worker_keys import WorkerKeys
from connectors.contract import Batch
from fhir_profiles import codes
from fhir_profiles.text import Number, Resource
from tests.audit import chains
from tests.sync.sync_world import SyncWorld, batch, condition, deleted, observation, patient, skipped
from tests.vault import world as worlds
from tests.vault.world import DR_B, LABORATORY, PASSWORD, FrozenClock, World

PDF, SCAN = random.Random(1).randbytes(70_000), random.Random(2).randbytes(200_001)
SECRET = "Kanarienvogel F32.1"
RAW = b"\xff\x00 kept as it came: " + SECRET.encode()


def document(content: bytes, content_type: str, title: str) -> Resource:
    attachment = {"contentType": content_type, "title": title, "data": base64.b64encode(content).decode()}
    return {
        "resourceType": "DocumentReference",
        "id": "d1",
        "status": "current",
        "subject": {"reference": "Patient/p1"},
        "type": {"coding": [{"system": codes.LOINC, "code": "11490-0"}]},
        "content": [{"attachment": attachment}],
    }


def now(cursor: str = "2") -> Batch:
    """What the clinic shows in the end; asked again, it shows the same."""
    return batch(
        patient(),
        observation("o1", Number("0.40")) | {"note": [{"text": SECRET}]},
        condition("F32.1"),
        document(SCAN, "image/jpeg", "Bild"),
        observation("o3", 1),
        skipped("file/a", raw=RAW),
        cursor=cursor,
    )


def fill(syncing: SyncWorld) -> str:
    """The connection's id."""
    world = syncing.world
    early = batch(
        patient(), observation("o1"), observation("o2"), condition("E11.9"), document(PDF, "application/pdf", "Brief")
    )
    gone = batch(deleted("Observation/o2"), cursor="3")
    syncing.clinic.says([early], [now(), gone], [now("4")])
    connection = syncing.connect()
    syncing.run(connection)
    world.clock.advance(hours=1)
    syncing.run(connection)
    world.owner = syncing.fresh()
    world.permit(DR_B)
    ended = world.permit(LABORATORY)
    local = ended["id"].partition(".")[2]
    world.signing.save_consent(world.owner, ended | {"status": "inactive"}, local)
    chains.record(world)
    return connection


def place(world: World) -> Place:
    return Place(
        store=world.store,
        blobs=world.blobs,
        key_service=world.ring,
        receipts=ReceiptWriter(world.store, world.ring),
        clock=world.clock,
    )


def contents(files: Iterable[File]) -> dict[str, bytes]:
    """Path -> bytes, each as long as it said."""
    made = dict[str, bytes]()
    for file in files:
        made[file.path] = b"".join(file.parts)
        assert len(made[file.path]) == file.size
    return made


def taken(world: World) -> dict[str, bytes]:
    """Everything that an export of this world's record holds."""
    made = place(world)
    try:
        return contents(export(made, world.owner))
    finally:
        made.receipts.close()


def values(text: bytes) -> list[Any]:
    """Of NDJSON."""
    return [orjson.loads(line) for line in text.splitlines()]


def as_files(made: dict[str, bytes]) -> list[File]:
    return [File(path, len(content), [content]) for path, content in made.items()]


def elsewhere(folder: Path, clock: FrozenClock) -> World:
    """Another installation, with nobody in it. Its owner is set once somebody has moved in."""
    (folder / "store").mkdir(parents=True)
    ring = KeyRing.create(folder / "keys")
    store = worlds.followed_store(folder / "store" / "aggregator.db", ring)
    accounts = worlds.accounts_of(store, ring, clock)
    grants = Grants(store, ring, accounts, [DR_B, LABORATORY], clock)
    nobody = Owner("", Root.generate(), {}, clock(), clock())
    return World(
        folder=folder,
        clock=clock,
        store=store,
        ring=ring,
        worker=WorkerKeys.read(folder / "keys"),
        accounts=accounts,
        grants=grants,
        signing=Signing(store, accounts, grants, clock),
        owner=nobody,
    )


def moved(world: World, made: dict[str, bytes], login: str = "erika.neu") -> Imported:
    """Import into this world, whose owner is the person from then on, and proves the recovery code."""
    there = place(world)
    try:
        imported = import_record(there, world.worker, world.accounts, lambda: iter(as_files(made)), login, PASSWORD)
    finally:
        there.receipts.close()
    world.accounts.prove_recovery(login, imported.signed_up.recovery_code)
    world.owner = imported.signed_up.owner
    return imported


def relisted(made: dict[str, bytes], **changed: Any) -> dict[str, bytes]:
    """The same with a manifest that fits: what somebody makes who writes an export by hand. changed: its members."""
    told = orjson.loads(made["manifest.json"]) | changed
    told["files"] = [
        {
            "path": path,
            "bytes": len(text),
            "sha256": hashlib.sha256(text).hexdigest(),
            "lines": text.count(b"\n") if path.endswith(".ndjson") else None,
        }
        for path, text in made.items()
        if path != "manifest.json"
    ]
    rest = {path: text for path, text in made.items() if path != "manifest.json"}
    return rest | {"manifest.json": orjson.dumps(told)}
