"""A stolen store folder: after sync, quarantine, consent, views and receipts it shows no value, name or setting."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from aggregator.audit.receipts import Opening, ReceiptWriter
from aggregator.vault.packing import KEPT, _dictionary, pack
from fhir_profiles import codes
from fhir_profiles.profiles import SECTIONS
from tests.vault.source import AUTHORITY, found, skipped, sync
from tests.vault.world import DR_B, ERIKA, LOGIN, PASSWORD, World
from tests.weaken import weakens
from tests.weakened import Packed, Plain

pytestmark = pytest.mark.attack(20)

_ZSTD = b"\x28\xb5\x2f\xfd"
ACCOUNT = {"patient_id": "canary-patient-17", "bearer_token": "canary-bearer-token"}
CURSOR = "canary-cursor-2026-11-20"
PATIENT = {
    "resourceType": "Patient",
    "id": "canary-patient-17",
    "name": [{"family": ERIKA.family, "given": ERIKA.given.split()}],
    "birthDate": ERIKA.birth_date,
    "identifier": [{"system": codes.KVNR, "value": ERIKA.kvnr}],
}
SUBJECT = {"subject": {"reference": "Patient/canary-patient-17"}}
DEPRESSION = {
    "resourceType": "Condition",
    "id": "canary-condition",
    "code": {"coding": [{"system": codes.ICD_10_GM, "code": "F32.1", "display": "Canary-Depression"}]},
    **SUBJECT,
}
GLUCOSE = {
    "resourceType": "Observation",
    "id": "canary-glucose",
    "status": "final",
    "code": {"text": "Canary-Blutzucker"},
    "valueString": "canary " + "x" * 4000,  # repeats: what only compresses it would still show its words
    **SUBJECT,
}
CLINIC = {"resourceType": "Organization", "id": "canary-org", "name": "Canary Psychiatrische Klinik"}
WRONG = {"resourceType": "Observation", "id": "canary-wrong", "status": "canary-status", **SUBJECT}
UNREADABLE = b"canary-raw-payload"
WORDS = [
    *ACCOUNT.values(),
    CURSOR,
    AUTHORITY,
    LOGIN,
    PASSWORD,
    *ERIKA.given.split(),
    ERIKA.family,
    ERIKA.birth_date,
    str(ERIKA.kvnr),
    "canary",
    "Canary",
    "F32.1 ",
    "2026-12-24",
    "canary-query",
    *(name for name in SECTIONS if len(name) >= 6),
]


def use(world: World) -> None:
    """Synced, quarantined, consented, read by owner and grantee, receipted, and once revoked."""
    items = [found(one, f"/fhir/{one['id']}") for one in (PATIENT, DEPRESSION, GLUCOSE, CLINIC, WRONG)]
    items.append(skipped(UNREADABLE, "canary-detail", "/canary-locator"))
    outcome = asyncio.run(sync(world, items, ACCOUNT, CURSOR))
    assert (outcome.stored, outcome.quarantined, outcome.status) == (4, 2, "fresh")
    world.open().close()
    world.permit(DR_B, period={"start": "2026-01-01", "end": "2026-12-24"})
    world.open(world.grantee()).close()
    _read(world)
    world.append("results", world.put("Observation/later"))
    world.open().close()
    world.accounts.sign_in(LOGIN, PASSWORD)


def _read(world: World) -> None:
    opening = Opening(world.vault, world.owner.root.audit.public())
    writer = ReceiptWriter(world.store, world.ring)
    writer.write_now([opening.first({"kind": "opened"}), opening.next({"query": "canary-query"}, None)])
    writer.close()


def spellings(word: str) -> set[bytes]:
    """The word as bytes: UTF-8, UTF-16, hex, and base64 at each of its three places."""
    raw = word.encode()
    return {raw, word.encode("utf-16-le"), raw.hex().encode(), *(_base64_at(shift, raw) for shift in range(3))}


def _base64_at(shift: int, raw: bytes) -> bytes:
    """The characters that stand for these bytes alone, so many bytes behind a multiple of three."""
    whole = base64.b64encode(bytes(shift) + raw)
    return whole[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]


def readable(data: bytes) -> Iterator[bytes]:
    """The bytes, and whatever unpacks from them: a body that was compressed but not sealed would lie here."""
    yield data
    at = data.find(_ZSTD)
    while at >= 0:
        with contextlib.suppress(zstandard.ZstdError):
            yield zstandard.ZstdDecompressor().decompressobj().decompress(data[at:])
        with contextlib.suppress(zstandard.ZstdError):
            yield zstandard.ZstdDecompressor(dict_data=_dictionary(KEPT)).decompressobj().decompress(data[at:])
        at = data.find(_ZSTD, at + 1)


def leaks(folder: Path, words: list[str]) -> list[tuple[str, str]]:
    """(file name, word) of every word that can be read in a folder's files."""
    return [
        (path.name, word)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for data in readable(path.read_bytes())
        for word in words
        if any(spelling in data for spelling in spellings(word))
    ]


@weakens("aggregator.vault.seal", "AESGCM", Plain)
@weakens("aggregator.vault.seal", "AESGCM", Packed)
def test_no_file_of_store_or_ring_tells_a_value(world: World) -> None:
    """Database and write-ahead log as they lie there, then the database alone after a checkpoint."""
    use(world)
    assert len(world.raw()) > 100_000
    (world.folder / "disk").write_bytes(world.raw())  # PostgreSQL's folder is its server's
    assert leaks(world.folder, WORDS) == []
    world.store.checkpoint()
    (world.folder / "disk").write_bytes(world.raw())
    assert leaks(world.folder, WORDS) == []


def test_no_log_line_tells_a_value(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        items = [found(one) for one in (PATIENT, DEPRESSION, WRONG)] + [skipped(UNREADABLE, "canary-detail", "/canary")]
        asyncio.run(sync(world, items, ACCOUNT, CURSOR))
        world.open().close()
        world.append_raw(b"canary envelope")
        world.open().close()
    assert [word for word in WORDS if word in caplog.text] == []


def test_the_search_finds_what_it_should(tmp_path: Path) -> None:
    """So that the tests above can fail: the word plain, in base64, in hex, in UTF-16, and in a zstd frame."""
    planted = {
        "plain": b"..canary..",
        "base64": base64.b64encode(b"some canary here"),
        "hex": b"some canary here".hex().encode(),
        "utf-16": "canary".encode("utf-16-le"),
        "zstd": b"\0" * 9 + zstandard.compress(b"some canary here " * 50) + b"\0" * 9,
        "a body": b"\0" * 9 + pack(b"some canary here " * 50, KEPT) + b"\0" * 9,
    }
    for name, data in planted.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "clean").write_bytes(bytes(range(256)) * 10)
    assert {name for name, _ in leaks(tmp_path, ["canary"])} == set(planted)
