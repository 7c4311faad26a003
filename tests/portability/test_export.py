"""An export holds the whole record, as it is served, and its manifest says so."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from pathlib import Path

import orjson
import pytest

from aggregator.errors import CallerError, Refused
from aggregator.portability import archive
from aggregator.portability.lines import OTHER, lines
from aggregator.vault.envelope import Put
from aggregator.vault.fold import State, Version
from aggregator.vault.keys import Writer
from tests.audit import stranger
from tests.portability import rich
from tests.portability.rich import PDF, RAW, SCAN, SECRET, contents, taken, values
from tests.sync.sync_world import SyncWorld
from tests.weaken import weakens


def test_every_current_resource_is_there_as_it_is_served(syncing: SyncWorld) -> None:
    made = taken(syncing.world)
    image, exported = syncing.world.open().image, 0
    for path in [path for path in made if path.startswith("fhir/")]:
        for line in made[path].splitlines():
            told = orjson.loads(line)
            record = image.read(told["resourceType"], told["id"].partition(".")[2])
            assert record
            assert record.body == line
            exported += 1
    assert exported == image.count()
    assert exported == sum(orjson.loads(made["manifest.json"])["sections"].values())


def test_every_earlier_version_and_every_end_is_there(syncing: SyncWorld) -> None:
    made = taken(syncing.world)
    told = [
        (one["type"], one["op"], one["version"], one["section"])
        for path, text in sorted(made.items())
        if path.startswith("history/")
        for one in values(text)
    ]
    assert sorted(told) == [
        ("Binary", "put", 1, "documents"),
        ("Condition", "put", 1, "problems"),
        ("Consent", "put", 1, "unsorted"),
        ("DocumentReference", "put", 1, "documents"),
        ("Observation", "delete", 2, "results"),
        ("Observation", "put", 1, "results"),
        ("Observation", "put", 1, "results"),
    ]


def test_line_by_line_it_says_where_a_resource_comes_from(syncing: SyncWorld) -> None:
    made, owner = taken(syncing.world), syncing.world.owner
    for path in [path for path in made if path.startswith("fhir/")]:
        beside = values(made[path.replace("fhir/", "provenance/")])
        for resource, told in zip(values(made[path]), beside, strict=True):
            assert f"{owner.vault}.{told['id']}" == resource["id"]
            assert (told["type"], str(told["version"])) == (resource["resourceType"], resource["meta"]["versionId"])
            source = owner.root.source("klinik", "erika").hex()
            assert (told["origin"]["source"], told["writer"]) in {("klinik", source), ("owner", "owner")}


def test_attachments_are_the_bytes_that_came(syncing: SyncWorld) -> None:
    made = taken(syncing.world)
    attached = {path: text for path, text in made.items() if path.startswith("attachments/")}
    assert sorted((Path(path).suffix, text) for path, text in attached.items()) == [(".jpg", SCAN), (".pdf", PDF)]
    (binary,) = values(made["provenance/Binary.ndjson"])
    assert attached[binary["attachment"]] == SCAN


def test_what_stands_aside_is_there_as_it_came(syncing: SyncWorld) -> None:
    made = taken(syncing.world)
    (told,) = values(made["originals/index.ndjson"])
    assert (told["reason"], made[told["file"]]) == ("checksum", RAW)


def test_its_manifest_lists_every_file(syncing: SyncWorld) -> None:
    made = taken(syncing.world)
    assert list(made)[-1] == "manifest.json"
    told = orjson.loads(made.pop("manifest.json"))
    assert {one["path"]: (one["bytes"], one["sha256"]) for one in told["files"]} == {
        path: (len(text), hashlib.sha256(text).hexdigest()) for path, text in made.items()
    }
    for one in told["files"]:
        assert one["lines"] == (made[one["path"]].count(b"\n") if one["path"].endswith(".ndjson") else None)
    assert (told["vault"], told["missing"], told["refused"]) == (syncing.world.vault, [], {})


@pytest.mark.attack(2)
@weakens("aggregator.portability.export", "_receipt", lambda _place, _owner: None)
def test_the_receipt_comes_before_the_first_byte_and_is_in_the_export(syncing: SyncWorld) -> None:
    world = syncing.world
    made = taken(world)
    entries = values(made["receipts/entries.ndjson"])
    assert (entries[-1]["entry"] or {}).get("kind") == "exported"
    assert [one["position"] for one in entries] == list(range(1, len(entries) + 1))
    key = world.ring.audit_verification_key()
    assert stranger.verdict(made["receipts/chain.ndjson"].decode(), key, []) == ("", 0)


@pytest.mark.attack(2)
@weakens("aggregator.portability.export", "_receipt", lambda _place, _owner: None)
def test_nothing_is_exported_without_a_receipt(syncing: SyncWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.audit.receipts.ReceiptWriter.write_now", _refused)
    with pytest.raises(Refused):
        taken(syncing.world)


def _refused(*_: object) -> None:
    raise Refused("no receipt")


@pytest.mark.attack(20, 26)
@weakens("aggregator.vault.keys.Root", "audit_seed", lambda root: root.secret)
def test_no_key_in_it_opens_anything(syncing: SyncWorld) -> None:
    made, root = taken(syncing.world), syncing.world.owner.root
    keys = [root.secret, root.owner_key(), root.image_key(), Writer.owner(root).seed]
    keys += [root.section(id_).seed for id_ in syncing.world.owner.sections.values()]
    keys += [root.ledger_keys(root.source("klinik", "erika"))[:32]]
    for path, text in made.items():
        for key in keys:
            assert key not in text, path
            assert key.hex().encode() not in text, path
    told = orjson.dumps(orjson.loads(made["keys.json"]))
    assert not any(b64encode(key) in told for key in keys)


@pytest.mark.attack(20)
def test_a_sealed_record_leaves_nothing_open_beside_it(syncing: SyncWorld) -> None:
    taken(syncing.world)
    assert SECRET.encode() not in syncing.raw()


def test_an_attachment_that_is_gone_keeps_nothing_else_back(syncing: SyncWorld) -> None:
    for blob, _ in list(syncing.world.blobs.ids()):
        syncing.world.blobs.delete(blob)
    made = taken(syncing.world)
    assert not [path for path in made if path.startswith("attachments/")]
    assert len(orjson.loads(made["manifest.json"])["missing"]) == 2


@pytest.mark.attack(46)
@weakens("aggregator.portability.lines", "RESOURCES", ["../../etc/passwd"])
def test_what_a_writer_calls_a_type_names_no_file() -> None:
    local = "a" * 26
    put = Put(local=local, resource_type="../../etc/passwd", version=1, updated="2026-11-21T20:30:00Z", resource=b"{}")
    made = lines(State(1, {"results": {local: [Version(1, "00" * 16, put)]}}))
    assert list(made.current) == [OTHER]


def test_a_folder_is_for_its_owner_alone_and_never_replaces_one(syncing: SyncWorld, tmp_path: Path) -> None:
    made, folder = rich.as_files(taken(syncing.world)), tmp_path / "taken"
    archive.write_folder(folder, made)
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in [folder, *folder.rglob("*")] if path.is_dir()} == {0o700}
    assert contents(archive.in_folder(folder)) == {file.path: b"".join(file.parts) for file in made}
    with pytest.raises(CallerError, match="is there already"):
        archive.write_folder(folder, made)
