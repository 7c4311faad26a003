"""Reading the truth: who may have written what. One forged row does not close a vault, and is reported."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace

import pytest
from sqlmodel import col, select

from aggregator.consent import mandate as mandates
from aggregator.consent.mandate import Mandate
from aggregator.errors import Tampered
from aggregator.identity.signed_consents import current
from aggregator.vault import epochs, log, tables, truth
from aggregator.vault.encoding import b64, canonical, instant
from aggregator.vault.envelope import Delete, Remove, seal
from aggregator.vault.epochs import unpacked
from aggregator.vault.keys import OWNER, Root, SectionKey, Writer
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import dumps, loads
from tests.vault.world import DR_B, ERIKA, LABORATORY, World
from tests.weaken import weakens
from tests.weakened import any_header


def first(world: World) -> None:
    """Something honest before and after, so that "the rest is still read" can be seen."""
    world.append("results", world.put("Observation/1"))


def assert_left_out(world: World, position: int, reason: str) -> None:
    world.append("problems", world.put("Condition/1"))
    told = world.truth()
    assert told.refused == {position: reason}
    assert _held(told) == {"identity": 1, "results": 1, "problems": 1}
    assert world.open().image.sections() == {"identity": 1, "results": 1, "problems": 1}


def _held(told: truth.Truth) -> dict[str, int]:
    return {section: len(resources) for section, resources in told.state.sections.items() if resources}


NO_MANDATE = "its author had no mandate for that section"


@pytest.mark.attack(28)
def test_a_writer_nobody_appointed_is_left_out(world: World, caplog: pytest.LogCaptureFixture) -> None:
    first(world)
    with caplog.at_level(logging.WARNING):
        position = world.append("results", world.put("Observation/2"), writer=Writer.generate("m9"))
        assert_left_out(world, position, NO_MANDATE)
    assert f"vault log: position {position} is refused: {NO_MANDATE}" in caplog.messages


@pytest.mark.attack(28)
@weakens("aggregator.vault.vouching", "verify", lambda *_: None)
def test_a_forged_signature_of_a_real_writer_is_left_out(world: World) -> None:
    first(world)
    forger = Writer.generate(world.connect().id)
    position = world.append("results", world.put("Observation/2"), writer=forger)
    assert_left_out(world, position, "the signature of a stored envelope is wrong")


@pytest.mark.attack(28)
@weakens("aggregator.vault.vouching", "verify", lambda *_: None)
def test_a_forged_signature_of_the_owner_is_left_out(world: World) -> None:
    """Whoever has the database knows the public keys of no section; were they known, the root still has to sign."""
    first(world)
    position = world.append("results", world.put("Observation/2"), writer=Writer.generate(OWNER))
    assert_left_out(world, position, "the signature of a stored envelope is wrong")


@pytest.mark.attack(28)
@weakens("aggregator.vault.truth", "verify", lambda *_: None)
def test_a_mandate_made_by_sql_appoints_nobody(world: World) -> None:
    """A whole mandate row, perfect but for the root's signature."""
    first(world)
    writer = Writer.generate("m" * 32)
    stated = {"kind": "mandate", "vault": world.vault, "mandate": writer.id, "writer": b64(writer.public()), "from": 1}
    stated |= {"source": bytes(16).hex()}
    certificate = canonical(stated | {"sections": sorted(world.owner.sections.values()), "body": ""})
    signature = Root.generate().sign(b"PRA1/mandate" + certificate)
    row = tables.Mandate(vault=world.vault, id=writer.id, certificate=certificate, signature=signature, box=b"")
    with world.store.write() as session:
        session.add(row)
    position = world.append("results", world.put("Observation/2"), writer=writer)
    assert_left_out(world, position, NO_MANDATE)


@pytest.mark.attack(21, 28)
def test_a_real_mandates_certificate_under_another_id_appoints_nobody(world: World) -> None:
    first(world)
    mandate = world.connect()
    world.sql("UPDATE mandate SET id = 'm9'")
    position = world.append("results", world.put("Observation/2"), writer=Writer("m9", mandate.writer.seed))
    assert_left_out(world, position, NO_MANDATE)


def narrowed(world: World, mandate: Mandate, **stated: object) -> None:
    """Sign the mandate's certificate anew, with these members: an owner's narrower will."""
    with world.store.write() as session:
        row = session.get_one(tables.Mandate, (world.vault, mandate.id))
        members = {
            "kind": "mandate",
            "vault": world.vault,
            "mandate": mandate.id,
            "writer": b64(mandate.writer.public()),
            "sections": sorted(world.owner.sections.values()),
            "source": mandate.source.hex(),
            "from": 1,
            "body": "",
        }
        row.certificate = canonical(members | stated)
        row.signature = world.owner.root.sign(b"PRA1/mandate" + row.certificate)
        session.add(row)


@pytest.mark.attack(28)
@weakens("aggregator.vault.keys.Certificate", "covers", lambda *_: True)
def test_an_envelope_for_a_section_outside_its_certificate_is_left_out(world: World) -> None:
    first(world)
    mandate = world.connect()
    narrowed(world, mandate, sections=[world.owner.sections["problems"]])
    position = world.append("results", world.put("Observation/2"), writer=mandate.writer)
    assert_left_out(world, position, NO_MANDATE)


@pytest.mark.attack(28)
@weakens("aggregator.vault.keys.Certificate", "covers", lambda *_: True)
def test_an_envelope_before_its_certificates_first_position_is_left_out(world: World) -> None:
    first(world)
    mandate = world.connect()
    narrowed(world, mandate, **{"from": 4})
    position = world.append("results", world.put("Observation/2"), writer=mandate.writer)
    assert position == 3
    assert_left_out(world, position, NO_MANDATE)


@pytest.mark.attack(21, 28)
def test_an_envelope_sealed_to_another_key_or_section_is_left_out(world: World) -> None:
    first(world)
    mandate = world.connect()
    stranger = Root.generate().section(world.owner.sections["results"])
    key = SectionKey(stranger.id, 1, stranger.private_key().public())
    position = world.append_raw(seal(world.vault, key, mandate.writer, 3, [world.put("Observation/2")]))
    assert_left_out(world, position, "a sealed envelope does not open with its key")


@pytest.mark.attack(21)
@weakens("aggregator.vault.seal", "_split", any_header)
def test_an_envelope_of_another_vault_is_left_out(world: World) -> None:
    first(world)
    mandate = world.connect()
    envelope = seal("a" * 26, world.owner.key("results", 1), mandate.writer, 3, [world.put("Observation/2")])
    assert_left_out(world, world.append_raw(envelope), "a stored envelope stands where another belongs")


@pytest.mark.attack(28)
@pytest.mark.parametrize("envelope", [b"", b"garbage", b"PRS1\x00\x02{}", b"PRW1\xff\xff"])
def test_bytes_that_are_no_envelope_are_left_out(world: World, envelope: bytes) -> None:
    first(world)
    position = world.append_raw(envelope)
    world.append("problems", world.put("Condition/1"))
    told = world.truth()
    assert told.refused.keys() == {position}
    assert _held(told) == {"identity": 1, "results": 1, "problems": 1}


@pytest.mark.attack(28)
@weakens("aggregator.vault.keys.Certificate", "covers", lambda *_: True)
def test_what_an_ended_mandate_wrote_in_its_time_stays_and_nothing_more_comes(world: World) -> None:
    mandate = world.connect()
    last = world.append("results", world.put("Observation/1"), writer=mandate.writer)
    with world.store.write() as session:
        mandates.end(session.get_one(tables.Mandate, (world.vault, mandate.id)), world.owner.root, last)
    position = world.append("results", world.put("Observation/2"), writer=mandate.writer)
    told = world.truth()
    assert (told.refused, _held(told)) == ({position: NO_MANDATE}, {"identity": 1, "results": 1})
    world.sql("UPDATE mandate SET ended = FALSE")  # the flag is the worker's; the fold asks the root's signature
    assert world.truth().refused == {position: NO_MANDATE}


def test_what_was_refused_is_kept_and_comes_back(world: World) -> None:
    """Break a mandate's certificate by SQL: what it wrote is left out, but comes back when the row is mended."""
    mandate = world.connect()
    world.append("results", world.put("Observation/1"), writer=mandate.writer)
    world.sql("UPDATE mandate SET signature = CAST(x'00' || signature AS BLOB)")
    assert world.open().image.sections() == {"identity": 1}
    world.sql("UPDATE mandate SET signature = substr(signature, 2)")
    told = world.truth()
    assert (told.refused, _held(told)) == ({}, {"identity": 1, "results": 1})
    world.append("problems", world.put("Condition/1"))
    assert world.open().image.sections() == {"identity": 1, "results": 1, "problems": 1}
    assert _log(world) == []


@pytest.mark.attack(28)
def test_a_forgery_stops_no_snapshot(world: World) -> None:
    """Whoever can append to the table must not make the log grow for ever: forgeries stay, all else is folded."""
    forged = [world.append("results", world.put("Observation/9"), writer=Writer.generate("m9"))]
    for number in range(3):
        world.append("results", world.put(f"Observation/{number}"))
        forged.append(world.append_raw(b"garbage"))
        assert world.open().image.sections() == {"identity": 1, "results": number + 1}
        assert _log(world) == forged
    told = world.truth()
    assert (told.tail, sorted(told.refused)) == (0, forged)


@pytest.mark.attack(24, 28)
def test_a_kept_forgery_that_is_changed_or_gone_is_reported_once(world: World) -> None:
    """It closes nothing: it was out of the record already."""
    changed, gone = world.append_raw(b"garbage"), world.append_raw(b"rubbish")
    world.open()
    world.sql("UPDATE log SET envelope = x'00' WHERE position = ?", changed)
    world.sql("DELETE FROM log WHERE position = ?", gone)
    assert world.truth().refused == dict.fromkeys((changed, gone), "it was refused before, and is gone")
    world.append("results", world.put("Observation/1"))
    world.open()
    told = world.truth()
    assert (told.refused, _held(told), _log(world)) == ({}, {"identity": 1, "results": 1}, [])


COPY = "it is a copy of an older one, or stands elsewhere than where it was written"


@pytest.mark.attack(21, 24)
@pytest.mark.parametrize("by", ["owner", "writer"])
@pytest.mark.parametrize("folded", [False, True])
@weakens("aggregator.vault.fold.State", "expect", lambda *_: None, about=(24,))
def test_a_copy_of_an_old_envelope_brings_nothing_back(world: World, by: str, folded: bool) -> None:
    """What was removed from a section stays removed, behind a snapshot too; else its grantees would see it again."""
    writer = world.connect().writer if by == "writer" else Writer.owner(world.owner.root)
    put = world.put("Observation/1")
    first = world.append("results", put, writer=writer)
    with world.store.read() as session:
        old = session.get_one(tables.LogEntry, (world.vault, first)).envelope
    world.append("results", Remove(local=put.local, resource_type="Observation"), writer=writer)
    if folded:
        world.open()
    position = world.append_raw(old)
    told = world.truth()
    assert (told.refused, _held(told)) == ({position: COPY}, {"identity": 1})


@pytest.mark.attack(21, 24)
@weakens("aggregator.vault.snapshot", "_numbers", lambda _: {}, about=(24,))
def test_a_snapshot_remembers_the_numbers_of_every_writer(world: World) -> None:
    mandate = world.connect()
    first = world.append("results", world.put("Observation/1"), writer=mandate.writer)
    with world.store.read() as session:
        old = session.get_one(tables.LogEntry, (world.vault, first)).envelope
    world.open()
    put = world.put("Observation/1")
    world.append("results", Remove(local=put.local, resource_type="Observation"))
    world.open()
    assert world.truth().state.numbers == {(mandate.id, world.owner.sections["results"]): first}
    position = world.append_raw(old)
    assert world.truth().refused == {position: COPY}


@pytest.mark.attack(21, 24)
@weakens("aggregator.vault.fold.State", "expect", lambda *_: None, about=(24,))
def test_envelopes_in_another_order_do_not_count(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chained anew, where the key service has not heard of them yet: what it has heard of, it compares itself."""
    monkeypatch.setattr(world.store, "_watch", None)
    mandate = world.connect()
    put = world.put("Observation/1")
    world.append("results", put, writer=mandate.writer)
    world.append("results", Remove(local=put.local, resource_type="Observation"), writer=mandate.writer)
    with world.store.write(world.vault) as session:
        rows = session.exec(select(tables.LogEntry).order_by(col(tables.LogEntry.position))).all()
        envelopes = [row.envelope for row in rows]
        for row in rows:
            session.delete(row)
        head = session.get_one(tables.Vault, world.vault)
        head.log_position, head.chain = 0, log.first_link(world.vault)
        session.flush()
        log.append(session, head, [envelopes[0], *reversed(envelopes[1:])])
    told = world.truth()
    assert (told.refused, _held(told)) == ({3: COPY}, {"identity": 1})


def _log(world: World) -> list[int]:
    with world.store.read() as session:
        return list(session.exec(select(tables.LogEntry.position).order_by(col(tables.LogEntry.position))))


ANOTHERS = "it changes what its author did not write"


@pytest.mark.attack(28, 53)
@pytest.mark.parametrize("section", ["unsorted", "results"])
@pytest.mark.parametrize("forged", ["put", "delete", "remove"])
@weakens("aggregator.vault.fold", "_is_anothers", lambda *_: False, about=(28,))
def test_a_writer_undoes_nothing_that_the_owner_signed(world: World, forged: str, section: str) -> None:
    """With the worker's key and the database alone: the owner's deny would be gone at the next signing."""
    world.permit()
    deny = world.permit(**{"type": "deny", "class": [_section("medications")]})
    local, mandate = deny["id"].partition(".")[2], world.connect()
    assert "medications" not in world.opened().seeds
    fake = loads(world.put("Consent/x").resource) | {"id": deny["id"]}
    operation = {
        "put": replace(world.put("Consent/x", version=99), local=local, resource=dumps(fake)),
        "delete": Delete(local=local, resource_type="Consent", version=99, updated=instant(world.clock())),
        "remove": Remove(local=local, resource_type="Consent"),
    }[forged]
    position = world.append(section, operation, writer=mandate.writer)
    told = world.truth()
    assert told.refused == {position: ANOTHERS}
    assert deny["id"] in [one["id"] for one in current(told.state)]
    assert world.open().image.read("Consent", local) is not None
    world.permit(LABORATORY)  # compiles every grant anew, from all Consents
    assert {"medications", "results"} & world.opened().seeds.keys() == {"results"}


@pytest.mark.attack(28)
@pytest.mark.parametrize("section", ["identity", "results"])
@weakens("aggregator.vault.fold", "_is_anothers", lambda *_: False)
def test_a_writer_does_not_replace_the_vaults_patient(world: World, section: str) -> None:
    mandate = world.connect()
    eve = loads(world.put("Patient/x").resource) | {"id": world.patient.partition("/")[2], "name": [{"family": "Eve"}]}
    put = replace(world.put("Patient/x", version=99), local=world.owner.patient, resource=dumps(eve))
    position = world.append(section, put, writer=mandate.writer)
    assert world.truth().refused == {position: ANOTHERS}
    assert world.signing.person(world.owner) == ERIKA
    world.permit(DR_B, **{"class": [_section("results")]})
    record = world.open(world.grantee()).image.read("Patient", world.owner.patient)
    assert record is not None
    assert b"Eve" not in record.body  # the grantee opens `results` alone, and cannot see who wrote the Patient


def _section(section: str) -> dict[str, str]:
    return {"system": SECTION_SYSTEM, "code": section}


def test_a_source_that_was_connected_again_goes_on_with_its_own(world: World) -> None:
    """The mandate is another one, the source is the same."""
    first, second = world.connect(), world.connect()
    world.append("results", world.put("Observation/1"), writer=first.writer)
    put = world.put("Observation/1")
    world.append("results", Remove(local=put.local, resource_type="Observation"), writer=second.writer)
    world.append("problems", world.put("Observation/1", version=2), writer=second.writer)
    told = world.truth()
    assert (told.refused, _held(told)) == ({}, {"identity": 1, "problems": 1})
    (version,) = told.state.sections["problems"][put.local]
    assert version.writer == world.owner.root.source("klinik", "erika").hex()


def another_source(world: World) -> Mandate:
    """A mandate of the same person's for a laboratory."""
    signer = world.signing.signer(world.owner)
    with world.store.write() as session:
        vault = session.get_one(tables.Vault, world.vault)
        row = mandates.issue(vault, signer, world.worker.public(), authority="labor", account="erika")
        session.add(row)
    return mandates.open_mandate(row, world.worker, world.owner.root.verification_key)


@pytest.mark.attack(28)
@weakens("aggregator.vault.fold", "_is_anothers", lambda *_: False)
def test_another_source_does_not_write_what_one_wrote(world: World) -> None:
    ours, theirs = world.connect(), another_source(world)
    world.append("results", world.put("Observation/1"), writer=ours.writer)
    position = world.append("results", world.put("Observation/1", version=2), writer=theirs.writer)
    assert world.truth().refused == {position: ANOTHERS}
    world.open()
    later = world.append("results", world.put("Observation/1", version=3), writer=theirs.writer)
    assert world.truth().refused == dict.fromkeys((position, later), ANOTHERS)  # behind a snapshot as well


@pytest.mark.attack(28, 46)
@weakens("aggregator.vault.envelope", "refuse_unsound", lambda *_: None, about=(28,))
def test_a_signed_but_malformed_operation_closes_no_vault(world: World) -> None:
    mandate = world.connect()
    position = world.append("results", replace(world.put("Observation/9"), updated="notadate"), writer=mandate.writer)
    world.append("results", world.put("Observation/1"), writer=mandate.writer)
    assert world.truth().refused == {position: "a stored envelope holds no operations"}
    assert world.open().image.sections() == {"identity": 1, "results": 1}
    world.permit()
    assert world.open(world.grantee()).image.count("Observation") == 1


@pytest.mark.attack(28)
@pytest.mark.parametrize("ended", [False, True])
def test_an_id_in_two_sections_closes_no_vault(world: World, ended: bool) -> None:
    """A writer forgot its remove: an image would refuse to hold one id twice."""
    mandate, put = world.connect(), world.put("Observation/1", version=2)
    delete = Delete(local=put.local, resource_type="Observation", version=3, updated=put.updated)
    for section, version in (("results", 1), ("problems", 2)):
        world.append(section, world.put("Observation/1", version=version), writer=mandate.writer)
        if ended:
            world.append(section, delete, writer=mandate.writer)
    assert world.truth().refused == {}
    image = world.open().image
    assert image.sections() == ({"identity": 1} if ended else {"identity": 1, "problems": 1})
    assert (image.gone("Observation", put.local) is not None) is ended


@pytest.mark.attack(22)
@weakens("aggregator.vault.truth", "head", lambda session, vault, _: session.get(tables.Vault, vault))
def test_a_replaced_verification_key_is_found(world: World) -> None:
    forger = Root.generate()
    world.sql("UPDATE vault SET verification_key = ? WHERE id = ?", forger.verification_key, world.vault)
    with pytest.raises(Tampered, match="names another verification key"):
        world.truth()


@pytest.mark.attack(22)
@weakens("aggregator.vault.truth", "verify", lambda *_: None)
def test_a_replaced_audit_key_is_found(world: World) -> None:
    """Else whoever has the database reads every later receipt: who looked at what, and by which consent."""
    pinned = world.ring.verification_key(world.vault)
    with world.store.read() as session:
        row = session.get_one(tables.Vault, world.vault)
        assert truth.audit_key(row, pinned) == world.owner.root.audit.public()
    stranger = Root.generate()
    forged = canonical({"kind": "vault", "vault": world.vault, "audit": stranger.audit.public().raw.hex()})
    for certificate in (row.certificate, stranger.sign(b"PRA1/vault" + forged)):
        world.sql("UPDATE vault SET audit_key = ?, certificate = ?", stranger.audit.public().raw, certificate)
        with world.store.read() as session, pytest.raises(Tampered, match="signature of a stored vault"):
            truth.audit_key(session.get_one(tables.Vault, world.vault), pinned)


def writable(world: World) -> epochs.Writable:
    """The sections' public keys as a writer takes them."""
    with world.store.read() as session:
        return epochs.writable(session, world.vault, world.ring.verification_key(world.vault))


@pytest.mark.attack(22)
@weakens("aggregator.vault.epochs", "_keys_of", lambda _listed, row: unpacked(row.keys))
@weakens("aggregator.vault.epochs", "verify", lambda *_: None)
def test_a_replaced_section_key_is_not_used(world: World) -> None:
    """A writer takes section keys from the list that the root signed, and from nowhere else."""
    results, stranger = world.owner.sections["results"], Root.generate()
    with world.store.read() as session:
        row = session.get_one(tables.SectionKeys, (world.vault, 1))
        head = session.get_one(tables.Vault, world.vault)
    own, other = (root.section(results).private_key().public().raw for root in (world.owner.root, stranger))
    assert writable(world).sections[results].public.raw == own
    forged = row.keys.replace(own, other)
    world.sql("UPDATE section_keys SET keys = ?", forged)
    with pytest.raises(Tampered, match="not those that its root signed"):
        writable(world)
    stated = canonical(loads(head.epochs) | {"keys": hashlib.sha256(forged).hexdigest()})
    for signature in (head.epochs_signature, stranger.sign(b"PRA1/keys" + stated)):
        world.sql("UPDATE vault SET epochs = ?, epochs_signature = ?", stated, signature)
        with pytest.raises(Tampered, match="signature of a stored list of epochs"):
            writable(world)


def test_a_vault_that_is_not_there(world: World) -> None:
    with world.store.read() as session, pytest.raises(Tampered, match="row is missing"):
        truth.head(session, "a" * 26, world.owner.root.verification_key)
