"""A record that moved is the same record: file by file, and for its sources, its owner and nobody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlmodel import select

from aggregator.audit import verify
from aggregator.errors import CallerError, SignInFailed
from aggregator.identity.signed_consents import current
from aggregator.portability import closed_chains
from aggregator.sync.tables import Quarantine
from aggregator.vault import blob, blob_rows, tables
from aggregator.vault.keys import OWNER
from fhir_profiles.text import loads
from tests.audit import stranger
from tests.portability import rich
from tests.portability.rich import PDF, SCAN, SECRET, moved, now, taken, values
from tests.sync.sync_world import SyncWorld
from tests.vault.world import DR_B, PASSWORD, World
from tests.weaken import weakens

DIFFERENT = {
    "manifest.json": "made at another time, with other files; another chain of receipts, one grant version more",
    "keys.json": "one audit seed more: that of the new chain",
    "receipts/chain.ndjson": "the new installation's chain",
    "receipts/entries.ndjson": "what it says",
    "receipts/closed-1.ndjson": "the chain that was closed",
    "receipts/closed-1-entries.ndjson": "what it says",
    "consents/versions.ndjson": "the version in which nobody has a grant",
    "provenance/Consent.ndjson": "written by import: a proposal until it is signed",
    "history/Consent.ndjson": "the same",
}
"""What a second export may have otherwise than the first, and why."""


def test_a_second_export_is_the_first_file_by_file(syncing: SyncWorld, there: World) -> None:
    first = taken(syncing.world)
    moved(there, first)
    second = taken(there)
    assert {path for path in first.keys() | second.keys() if first.get(path) != second.get(path)} == set(DIFFERENT)
    assert second["receipts/closed-1.ndjson"] == first["receipts/chain.ndjson"]
    assert second["receipts/closed-1-entries.ndjson"] == first["receipts/entries.ndjson"]
    old, new = (orjson.loads(made["keys.json"]) for made in (first, second))
    assert new["audit"][:-1] == old["audit"]
    assert {**new, "audit": 0} == {**old, "audit": 0}
    lines = second["consents/versions.ndjson"].splitlines()
    assert lines[:-1] == first["consents/versions.ndjson"].splitlines()
    assert (loads(lines[-1])["consents"], loads(lines[-1])["opened"]) == ([], {})
    for path in ("provenance/Consent.ndjson", "history/Consent.ndjson"):
        assert second[path] == first[path].replace(b'"writer":"owner"', b'"writer":"import"')


def test_a_third_installation_has_all_of_it_too(syncing: SyncWorld, there: World, tmp_path: Path) -> None:
    first = taken(syncing.world)
    moved(there, first)
    third = rich.elsewhere(tmp_path / "third", there.clock)
    moved(third, taken(there))
    made = taken(third)
    assert made["receipts/closed-1.ndjson"] == first["receipts/chain.ndjson"]
    assert len(values(made["receipts/closed-2-entries.ndjson"])) == 2
    assert all(made[path] == text for path, text in first.items() if path not in DIFFERENT)
    third.close()


def test_the_source_that_is_connected_again_doubles_nothing(syncing: SyncWorld, there: World) -> None:
    moved(there, taken(syncing.world))
    before = taken(there)
    again = SyncWorld(world=there)
    again.clinic.says([now()])
    outcome = again.run(again.connect())
    assert (outcome.stored, outcome.deleted, outcome.quarantined) == (0, 0, 1)
    same = syncing.run(syncing.connect())
    assert (outcome.found, outcome.unchanged) == (same.found, same.unchanged)
    after = taken(there)
    left = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert left <= {"manifest.json", "keys.json", "receipts/chain.ndjson", "receipts/entries.ndjson"} | {
        "originals/index.ndjson"
    }


def test_what_changes_there_goes_on_from_the_version_it_had(syncing: SyncWorld, there: World) -> None:
    moved(there, taken(syncing.world))
    again = SyncWorld(world=there)
    changed = rich.batch(rich.patient(), rich.observation("o1", 9))
    again.clinic.says([changed])
    assert again.run(again.connect()).stored == 1
    assert again.versions("Observation/o1") == {"results": ["1", "2", "3"]}


def test_attachments_are_sealed_anew_and_named_by_rows(syncing: SyncWorld, there: World) -> None:
    imported = moved(there, taken(syncing.world))
    assert imported.attachments == 2
    old, new = ({name for name, _ in world.blobs.ids()} for world in (syncing.world, there))
    assert new == set(blob_rows.named(there.store))
    assert not old & new
    state = there.truth().state
    puts = [version.operation for found in state.sections.values() for all_ in found.values() for version in all_]
    found = {b"".join(blob.read(there.blobs, there.vault, put.blob)) for put in puts if getattr(put, "blob", None)}
    assert found == {PDF, SCAN}
    there.open()  # a snapshot keeps them
    assert new == set(blob_rows.named(there.store))


@pytest.mark.attack(1, 46)
@weakens("aggregator.portability.record", "_writer", lambda writer, _: writer)
def test_a_consent_permits_nothing_until_its_owner_signs_it_here(syncing: SyncWorld, there: World) -> None:
    moved(there, taken(syncing.world))
    assert current(there.truth().state) == []
    there.permit(rich.LABORATORY)
    with there.store.read() as session:
        assert len(session.exec(select(tables.Grant)).all()) == 1  # not the imported one's


def test_the_owner_signs_an_imported_consent_by_saving_it(syncing: SyncWorld, there: World) -> None:
    made = taken(syncing.world)
    moved(there, made)
    active = next(one for one in values(made["fhir/Consent.ndjson"]) if one["status"] == "active")
    local = active["id"].partition(".")[2]
    stored, new = there.signing.save_consent(there.owner, active, local, if_match=1)
    assert (loads(stored)["meta"]["versionId"], new) == ("2", False)
    assert [one["id"] for one in current(there.truth().state)] == [active["id"]]
    assert there.open(there.grantee(DR_B)).image.count() > 1


def test_the_receipts_are_a_closed_chain_that_is_read_and_verified(syncing: SyncWorld, there: World) -> None:
    made = taken(syncing.world)
    imported = moved(there, made)
    assert imported.finding == ""
    with there.store.read() as session:
        chain = closed_chains.read(session, there.owner, 1)
        assert verify.check(session, there.vault, there.ring.audit_verification_key()).finding is None
    told = orjson.loads(made["manifest.json"])["receipts"]
    assert (chain.position, chain.head.hex()) == (told["position"], told["head"])
    assert chain.verdict().finding is None
    assert stranger.verdict(chain.text.decode(), syncing.world.ring.audit_verification_key(), []) == ("", 0)
    assert dict(chain.entries()) == {one["position"]: one["entry"] for one in values(made["receipts/entries.ndjson"])}
    (first,) = values(taken(there)["receipts/entries.ndjson"])[:1]
    assert (first["position"], first["entry"]["kind"]) == (1, "imported")
    assert told["head"] in first["entry"]["reason"]


def test_a_chain_that_does_not_hold_comes_along_and_says_so(syncing: SyncWorld, there: World) -> None:
    made = taken(syncing.world)
    lines = made["receipts/chain.ndjson"].splitlines(keepends=True)
    assert b'"receipt"' in lines[-2]
    made["receipts/chain.ndjson"] = b"".join(lines[:-2] + lines[-1:])
    imported = moved(there, rich.relisted(made))
    assert imported.finding
    first = values(taken(there)["receipts/entries.ndjson"])[0]["entry"]
    assert imported.finding in first["reason"]


def test_what_stands_aside_does_so_there(syncing: SyncWorld, there: World) -> None:
    moved(there, taken(syncing.world))
    again = SyncWorld(world=there)
    (one,) = again.opened()
    (before,) = syncing.opened()
    assert {**one, "connection": ""} == {**before, "connection": ""}
    with there.store.read() as session:
        (row,) = session.exec(select(Quarantine)).all()
    assert orjson.loads(
        there.worker.open({"format": 3, "kind": "quarantine", "vault": there.vault, "name": row.item}, row.note)
    )


@pytest.mark.attack(2)
def test_nothing_that_opened_the_old_record_opens_the_new_one(syncing: SyncWorld, there: World) -> None:
    old = syncing.world.owner
    imported = moved(there, taken(syncing.world))
    assert imported.signed_up.owner.root.secret != old.root.secret
    with pytest.raises(SignInFailed):
        there.accounts.owner(old.token)
    with pytest.raises(SignInFailed):
        there.accounts.sign_in("erika.beispiel", PASSWORD)
    assert there.accounts.sign_in("erika.neu", PASSWORD).vault == there.vault == old.vault


@pytest.mark.attack(20)
def test_it_leaves_nothing_open_there(syncing: SyncWorld, there: World) -> None:
    moved(there, taken(syncing.world))
    assert SECRET.encode() not in there.raw()
    keys = [there.owner.root.ids().key, there.owner.root.tag_key()]
    assert not any(key in there.raw() for key in keys)
    for path in there.folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


@pytest.mark.attack(46)
@weakens("aggregator.portability.imported", "_refuse_known", lambda _place, _vault: None)
def test_a_record_that_is_there_already_is_never_replaced(syncing: SyncWorld, there: World) -> None:
    made = taken(syncing.world)
    moved(there, made)
    before = there.truth().state
    with pytest.raises(CallerError, match="here already"):
        _expect_refusal(there, made)
    assert there.truth().state == before
    assert there.accounts.sign_in("erika.neu", PASSWORD).vault == there.vault


def _expect_refusal(there: World, made: dict[str, bytes]) -> None:
    """What else is raised where this one refusal is gone."""
    try:
        moved(there, made, "noch.einmal")
    except CallerError:
        raise
    except Exception as error:
        raise AssertionError("it was not refused") from error


def test_an_import_that_died_before_its_commit_can_be_tried_again(
    syncing: SyncWorld, there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = taken(syncing.world)
    with monkeypatch.context() as patch:
        patch.setattr("aggregator.portability.imported._receipt", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            moved(there, made)
    with there.store.read() as session:
        assert session.get(tables.Vault, syncing.world.vault) is None
    moved(there, made)
    assert there.accounts.sign_in("erika.neu", PASSWORD).vault == syncing.world.vault


def test_the_owner_alone_wrote_the_person(syncing: SyncWorld, there: World) -> None:
    moved(there, taken(syncing.world))
    assert there.signing.person(there.owner) == rich.worlds.ERIKA
    versions = there.truth().state.sections["identity"][there.owner.patient]
    assert {version.writer for version in versions} == {OWNER}


def changed_lines(text: bytes, **members: Any) -> bytes:
    """The first line with other members."""
    first, *rest = text.splitlines(keepends=True)
    return b"".join([orjson.dumps(orjson.loads(first) | members) + b"\n", *rest])


BESIDE = "provenance/Observation.ndjson"
HOSTILE: dict[str, dict[str, Any]] = {
    "an id that is none": {"id": "../../etc/passwd"},
    "another vault's": {"id": "b" * 26},
    "no version": {"version": 0},
    "a version that is too high": {"version": 2**31},
    "a version in words": {"version": "1"},
    "a time without a zone": {"updated": "2026-11-21T20:30:00"},
    "a position behind the log's end": {"position": 2**31 - 2},
    "a position before it": {"position": 0},
    "no section": {"section": "everything"},
    "a section of another kind": {"section": ["results"]},
    "a writer that is none": {"writer": "root"},
    "a writer of another kind": {"writer": None},
    "an attachment that is no Binary's": {"attachment": "README.txt"},
    "an attachment elsewhere": {"type": "Binary", "attachment": "../../etc/passwd"},
    "an origin that is none": {"origin": {"source": 1}},
    "another operation": {"op": "remove"},
    "a blob of its own": {"op": "delete"},
    "deep": {"origin": {"source": [[[[]]]]}},
}


@pytest.mark.attack(46)
@pytest.mark.parametrize("case", HOSTILE)
def test_a_line_that_no_export_has_is_refused(syncing: SyncWorld, there: World, case: str) -> None:
    made = taken(syncing.world)
    made[BESIDE] = changed_lines(made[BESIDE], **HOSTILE[case])
    with pytest.raises(CallerError, match="cannot be imported"):
        moved(there, rich.relisted(made))
    with there.store.read() as session:
        assert session.exec(select(tables.Vault)).all() == []


DEEP = b"[" * 5000 + b"]" * 5000


@pytest.mark.attack(46)
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("fhir/Observation.ndjson", b'{"resourceType":"Observation","resourceType":"Patient"}\n'),
        ("fhir/Observation.ndjson", b'{"resourceType":"Observation","id":1e999999999}\n'),
        ("fhir/Observation.ndjson", DEEP + b"\n"),
        (BESIDE, DEEP + b"\n"),
        ("keys.json", DEEP),
        ("keys.json", b"{}"),
        ("keys.json", b'{"ids":"AAAA","tag":"AAAA","content":{},"audit":[],"ledgers":[]}'),
        ("consents/versions.ndjson", b"[]\n"),
        ("receipts/chain.ndjson", b"[]\n"),
        ("receipts/chain.ndjson", b'{"line":"receipt"}\n'),
        ("originals/index.ndjson", b'{"item":"a"}\n'),
        ("history/Observation.ndjson", b'{"op":"put"}\n'),
        ("history/Observation.ndjson", b"\xff\n"),
    ],
)
def test_a_file_that_no_export_has_is_refused(syncing: SyncWorld, there: World, path: str, text: bytes) -> None:
    made = taken(syncing.world)
    made[path] = text
    with pytest.raises(CallerError, match="cannot be imported"):
        moved(there, rich.relisted(made))


@pytest.mark.attack(46)
@pytest.mark.parametrize("how", ["changed", "more", "less"])
@weakens("aggregator.portability.manifest", "_refuse_others", lambda _found, _listed: None)
def test_files_that_are_not_the_manifests_are_refused(syncing: SyncWorld, there: World, how: str) -> None:
    made = taken(syncing.world)
    attachment = next(path for path in made if path.startswith("attachments/"))
    match how:
        case "changed":
            made[attachment] = made[attachment][:-1] + b"."
        case "more":
            made = {"history/Basic.ndjson": b"", **made}
        case _:
            del made[attachment]
    with pytest.raises(CallerError, match="cannot be imported"):
        moved(there, made)
    assert list(there.blobs.ids()) == []


@pytest.mark.parametrize("how", ["another order", "no manifest"])
def test_the_manifest_is_there_and_the_last(syncing: SyncWorld, there: World, how: str) -> None:
    made = taken(syncing.world)
    told = made.pop("manifest.json")
    made = {"manifest.json": told, **made} if how == "another order" else made
    with pytest.raises(CallerError, match="manifest"):
        moved(there, made)


@pytest.mark.attack(46)
@pytest.mark.parametrize("limit", ["_MOST_BYTES", "_LONGEST_LINE", "_MOST_LINES"])
def test_what_is_too_much_is_refused(
    syncing: SyncWorld, there: World, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = taken(syncing.world)
    monkeypatch.setattr(f"aggregator.portability.manifest.{limit}", 10)
    with pytest.raises(CallerError, match=r"too large|too long"):
        moved(there, made)


@pytest.mark.attack(46)
@weakens("aggregator.portability.record", "_require_patient", lambda _made, _manifest, _ids: None)
def test_a_record_of_nobody_is_refused(syncing: SyncWorld, there: World) -> None:
    made = taken(syncing.world)
    source = syncing.world.owner.root.source("klinik", "erika").hex().encode()
    made["provenance/Patient.ndjson"] = made["provenance/Patient.ndjson"].replace(
        b'"writer":"owner"', b'"writer":"' + source + b'"'
    )
    with pytest.raises(CallerError, match="no person"):
        moved(there, rich.relisted(made))


def test_a_taken_login_is_told_and_nothing_stays(syncing: SyncWorld, there: World) -> None:
    there.accounts.sign_up("erika.neu", PASSWORD, replace(rich.worlds.ERIKA, given="Andere"))
    with pytest.raises(CallerError, match="taken"):
        moved(there, taken(syncing.world))
    with there.store.read() as session:
        assert session.get(tables.Vault, syncing.world.vault) is None
