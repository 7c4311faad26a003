"""A mandate: what the worker gets, what is checked before it is believed, and who can make one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from sqlmodel import select

from aggregator.consent import mandate
from aggregator.consent.mandate import Expected, Mandate, Person, comparable_name, open_mandate
from aggregator.errors import Tampered
from aggregator.vault import tables
from aggregator.vault.encoding import b64, canonical
from aggregator.vault.keys import Root, Writer
from aggregator.vault.seal import PrivateKey
from connectors.contract import Identifier, Subject
from fhir_profiles import codes
from tests.vault.world import ERIKA, World
from tests.weaken import weakens

KEY = b"k" * 32


def rows(world: World) -> list[tables.Mandate]:
    with world.store.read() as session:
        return list(session.exec(select(tables.Mandate)))


def opened(world: World, row: tables.Mandate) -> Mandate:
    return open_mandate(row, world.worker, world.ring.verification_key(world.vault))


@pytest.fixture
def row(world: World) -> tables.Mandate:
    world.connect()
    (made,) = rows(world)
    return made


def test_it_carries_what_a_blind_writer_needs(world: World, row: tables.Mandate) -> None:
    made = opened(world, row)
    root = world.owner.root
    assert (made.vault, made.id, made.authority, made.account) == (world.vault, row.id, "klinik", "erika")
    assert (made.patient, made.ids, made.source) == (world.owner.patient, root.ids(), root.source("klinik", "erika"))
    assert made.ledger_keys == root.ledger_keys(made.source)
    assert made.sections == world.owner.sections
    assert made.expected == Expected.of(ERIKA, root.tag_key())


@pytest.mark.attack(29)
def test_it_carries_no_private_key_of_a_section_and_no_root(world: World, row: tables.Mandate) -> None:
    body = world.worker.open(mandate.body_header(row.vault, row.id), row.box)
    secrets = [world.owner.root.secret, world.owner.root.owner_key(), world.owner.root.image_key()]
    secrets += [world.owner.root.section(section).seed for section in world.owner.sections.values()]
    assert not any(secret in body or b64(secret).encode() in body for secret in secrets)


def test_the_certificate_is_open_and_names_writer_sections_and_first_position(
    world: World, row: tables.Mandate
) -> None:
    world.append("results", world.put("Observation/1"))
    world.connect()
    told = orjson.loads(next(one for one in rows(world) if one.id != row.id).certificate)
    assert (told["vault"], told["from"]) == (world.vault, 3)
    assert told["source"] == world.owner.root.source("klinik", "erika").hex()
    assert told["sections"] == sorted(world.owner.sections.values())
    assert orjson.loads(row.certificate)["from"] == 2


@pytest.mark.attack(20)
def test_neither_source_nor_person_lies_open(row: tables.Mandate) -> None:
    stored = row.certificate + row.box + row.signature
    assert not any(canary in stored for canary in (b"klinik", b"erika", b"Beispielmann", b"results"))


@pytest.mark.attack(33)
@weakens("aggregator.consent.mandate.Mandate", "__repr__", lambda one: f"Mandate({one.writer.seed!r})")
def test_no_key_and_no_person_stands_in_what_a_traceback_prints(world: World, row: tables.Mandate) -> None:
    made, signer = opened(world, row), world.signing.signer(world.owner)
    printed = repr([made, made.expected, signer])
    secrets = [made.ledger_keys, made.expected.key, made.expected.name, made.writer.seed, made.ids.key]
    assert not [secret for secret in secrets if repr(secret) in printed]
    told = ("Beispielmann", "Erika", "1957-08-13", "X110411675", "klinik", "results", "erika")
    assert not [one for one in told if one in printed]


# --- forged ones


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


FORGED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "another certificate": ("certificate", lambda old: old.replace(b'"from":2', b'"from":1')),
    "a changed signature": ("signature", _flipped),
    "a changed body": ("box", _flipped),
    "another id": ("id", lambda old: old[::-1]),
    "another vault": ("vault", lambda old: old[::-1]),
}


@pytest.mark.attack(21, 22)
@pytest.mark.parametrize(("column", "change"), FORGED.values(), ids=FORGED)
def test_a_row_that_was_changed_is_refused(
    world: World, row: tables.Mandate, column: str, change: Callable[[Any], Any]
) -> None:
    changed = tables.Mandate(**{**row.model_dump(), column: change(getattr(row, column))})
    with pytest.raises(Tampered):
        open_mandate(changed, world.worker, world.owner.root.verification_key)


@pytest.mark.attack(21)
def test_bodies_swapped_between_two_mandates_are_refused(world: World, row: tables.Mandate) -> None:
    world.connect()
    other = next(one for one in rows(world) if one.id != row.id)
    with pytest.raises(Tampered):
        opened(world, tables.Mandate(**{**row.model_dump(), "box": other.box}))


@pytest.mark.attack(21)
def test_a_mandate_of_another_vault_does_not_serve_this_one(world: World) -> None:
    theirs = _issue(world, Root.generate(), "b" * 26)
    for vault in (theirs.vault, world.vault):
        moved = tables.Mandate(**{**theirs.model_dump(), "vault": vault})
        with pytest.raises(Tampered):
            opened(world, moved)


@pytest.mark.attack(29)
def test_whoever_holds_the_workers_key_alone_forges_none(world: World, row: tables.Mandate) -> None:
    """The worker opens a mandate, puts a writer of its own in, seals it again, and signs with what it has."""
    head = mandate.body_header(row.vault, row.id)
    body = orjson.loads(world.worker.open(head, row.box))
    writer = Writer.generate(row.id)
    box = world.worker.seal(head, canonical(body | {"writer": b64(writer.seed)}))
    for signature in (row.signature, writer.sign(b"PRA1/mandate" + row.certificate)):
        with pytest.raises(Tampered):
            opened(world, tables.Mandate(**{**row.model_dump(), "box": box, "signature": signature}))


def test_another_workers_mandate_does_not_open(world: World) -> None:
    another = _issue(world, world.owner.root, world.vault, PrivateKey(b"w" * 32))
    with pytest.raises(Tampered):
        opened(world, another)


def _issue(world: World, root: Root, vault: str, worker: PrivateKey | None = None) -> tables.Mandate:
    signer = mandate.Signer(
        vault=vault, root=root, sections=world.owner.sections, patient=world.owner.patient, person=ERIKA
    )
    with world.store.read() as session:
        row = session.get_one(tables.Vault, world.vault)
    shape = tables.Vault(**{**row.model_dump(), "id": vault})
    public = worker.public() if worker else world.worker.public()
    return mandate.issue(shape, signer, public, authority="klinik", account="erika")


# --- whom it expects


def subject(person: Person, *more: Identifier) -> Subject:
    numbers = (Identifier(codes.KVNR, person.kvnr),) if person.kvnr else ()
    return Subject(
        identifiers=(*numbers, *more), family=person.family, given=person.given, birth_date=person.birth_date
    )


NOBODY = Subject()
COMPARED: dict[str, tuple[Person, Subject, bool | None]] = {
    "equal in all": (ERIKA, subject(ERIKA), True),
    "an equal number decides against the name": (ERIKA, subject(replace(ERIKA, family="Anders")), True),
    "another number decides against the name": (ERIKA, subject(replace(ERIKA, kvnr="M987654326")), False),
    "one of two numbers is another's": (ERIKA, subject(ERIKA, Identifier(codes.KVNR, "M987654326")), False),
    "a number of another system is none": (ERIKA, subject(replace(ERIKA, kvnr=None), Identifier("urn:x", "1")), True),
    "the source has a number and we have none": (replace(ERIKA, kvnr=None), subject(ERIKA), True),
    "we have a number and the source has none": (ERIKA, subject(replace(ERIKA, kvnr=None)), True),
    "a number alone": (ERIKA, Subject(identifiers=(Identifier(codes.KVNR, "X110411675"),)), True),
    "nothing": (ERIKA, NOBODY, None),
    "a birth date alone": (ERIKA, Subject(birth_date="1957-08-13"), None),
    "a name alone": (ERIKA, Subject(family="Beispielmann", given="Erika"), None),
    "a number that we cannot compare, and nothing else": (
        replace(ERIKA, kvnr=None),
        Subject(identifiers=(Identifier(codes.KVNR, "X110411675"),)),
        None,
    ),
}


@pytest.mark.parametrize(("person", "said", "expected"), COMPARED.values(), ids=COMPARED)
def test_it_compares_by_number_else_by_name_and_birth_date(
    person: Person, said: Subject, expected: bool | None
) -> None:
    assert Expected.of(person, KEY).compare(said) is expected


def test_tags_of_two_vaults_tell_nothing_of_each_other() -> None:
    first, second = Expected.of(ERIKA, KEY), Expected.of(ERIKA, b"l" * 32)
    assert {first.kvnr, first.name}.isdisjoint({second.kvnr, second.name})


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        (ERIKA, ("beispielmann", "erika", "1957-08-13")),
        (
            replace(ERIKA, family="von der Höh-Weiß", given="Änne-Marie Luise"),
            ("vonderhoehweiss", "aenne", "1957-08-13"),
        ),
        (Subject(family="Beispielmann", given="Erika", birth_date="1957"), None),
        (Subject(family="--", given="Erika", birth_date="1957-08-13"), None),
    ],
)
def test_a_name_as_it_is_compared(person: Person | Subject, expected: tuple[str, str, str] | None) -> None:
    assert comparable_name(person) == expected
