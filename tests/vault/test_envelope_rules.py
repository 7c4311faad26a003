"""An envelope's rules, one by one: its lines, its bytes, what may stand in it, and what its header claims."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import orjson
import pytest

from aggregator.errors import Tampered
from aggregator.vault.blob import Blob
from aggregator.vault.envelope import (
    NONE,
    Claim,
    Delete,
    Operation,
    Put,
    Remove,
    Signed,
    claim,
    line,
    members,
    open_envelope,
    parse_line,
    read_envelope,
    read_members,
    refuse_unsound,
    seal,
    signed,
)
from aggregator.vault.keys import Root, SectionKey, Writer
from aggregator.vault.seal import header, read_header
from fhir_profiles.text import MAX_DEPTH

pytestmark = pytest.mark.storeless

SEED = Root(bytes(range(32))).section("5ec7104a5ec7104a", 3)
KEY = SectionKey(SEED.id, SEED.epoch, SEED.private_key().public())
WRITER = Writer("m1", bytes(range(1, 33)))
AT, LOCAL = "2026-11-21T20:30:00.000Z", "l" * 26
BLOB = Blob(id="b" * 26, key=bytes(32), size=5, sha256="0" * 64)


def body(**more: Any) -> bytes:
    return orjson.dumps({"resourceType": "Basic", "id": f"v.{LOCAL}"} | more)


PUT = Put(local=LOCAL, resource_type="Basic", version=1, updated=AT, resource=body())
DELETE = Delete(local=LOCAL, resource_type="Basic", version=2, updated=AT, origin={"source": "klinik"})
REMOVE = Remove(local=LOCAL, resource_type="Basic")
BINARY = replace(PUT, resource_type="Binary", resource=body(resourceType="Binary"), blob=BLOB)


# --- lines


def test_members_are_those_of_the_format() -> None:
    head = {"id": LOCAL, "type": "Basic"}
    assert members(REMOVE) == {"op": "remove", **head}
    assert members(DELETE) == {"op": "delete", **head, "version": 2, "updated": AT, "origin": {"source": "klinik"}}
    put = {"op": "put", **head, "version": 1, "updated": AT, "origin": {}}
    assert members(PUT) == put | {"warnings": ()}
    assert members(BINARY) == put | {"type": "Binary", "warnings": (), "blob": BLOB.member()}
    assert list(members(BINARY))[-1] == "warnings"


@pytest.mark.parametrize("operation", [PUT, DELETE, REMOVE, BINARY, replace(PUT, warnings=("w", "x"))])
def test_a_line_gives_back_its_operation(operation: Operation) -> None:
    assert parse_line(line(operation)) == operation
    resource = operation.resource if isinstance(operation, Put) else None
    assert read_members(orjson.loads(orjson.dumps(members(operation))), resource) == operation


def test_what_nobody_says_is_empty() -> None:
    bare = Delete(local=LOCAL, resource_type="Basic", version=1, updated=AT)
    assert (bare.origin, PUT.origin, PUT.warnings, PUT.blob) == ({}, {}, (), None)


@pytest.mark.parametrize(("operation", "resource"), [(PUT, None), (DELETE, b"{}"), (REMOVE, b"{}")])
def test_a_put_has_a_resource_and_no_other_operation_has_one(operation: Operation, resource: bytes | None) -> None:
    with pytest.raises(ValueError, match="an operation without its resource"):
        read_members(members(operation), resource)


# --- the envelope's bytes


def opened(envelope: bytes, **other: Any) -> list[Operation]:
    asked: dict[str, Any] = {"vault": "v", "seed": SEED, "writer": "m1", "number": 7}
    return open_envelope(box=envelope[:-96], **(asked | other))


def test_an_envelope_is_a_box_the_link_before_and_a_signature_over_its_own() -> None:
    envelope = seal("v", KEY, WRITER, 7, [PUT, DELETE, REMOVE])
    box, previous, signature = envelope[:-96], envelope[-96:-64], envelope[-64:]
    head = header("envelope", "v", section=SEED.id, epoch=3, writer="m1", number=7)
    assert orjson.loads(read_header(envelope)) == head | {"suite": 1}
    assert SEED.private_key().open(head, box) == b"\n".join(map(line, (PUT, DELETE, REMOVE)))
    link = hashlib.sha256(bytes(32) + hashlib.sha256(box).digest()).digest()
    assert (previous, NONE) == (bytes(32), bytes(32))
    assert signature == WRITER.sign(b"PRA1/envelope" + link)
    assert opened(envelope) == [PUT, DELETE, REMOVE]
    assert claim(envelope) == Claim(SEED.id, 3, "m1", 7)
    assert read_envelope(envelope) == Signed(claim(envelope), box, previous, link, signature)


def test_a_link_is_over_the_one_before() -> None:
    envelope = seal("v", KEY, WRITER, 7, [REMOVE], b"p" * 32)
    made = read_envelope(envelope)
    assert (made.box + made.previous + made.signature, made.previous) == (envelope, b"p" * 32)
    assert made.link == hashlib.sha256(b"p" * 32 + hashlib.sha256(made.box).digest()).digest()
    assert made.signature == WRITER.sign(signed(made.link)) == WRITER.sign(b"PRA1/envelope" + made.link)


def test_no_operations_are_none() -> None:
    assert opened(seal("v", KEY, WRITER, 7, [])) == []


@pytest.mark.parametrize(
    "other",
    [
        {"vault": "w"},
        {"seed": replace(SEED, id="0" * 16)},
        {"seed": replace(SEED, epoch=2)},
        {"writer": "m2"},
        {"number": 6},
    ],
    ids=lambda other: str(*other),
)
def test_an_envelope_opens_in_its_place_alone(other: dict[str, Any]) -> None:
    with pytest.raises(Tampered, match="stands where another belongs"):
        opened(seal("v", KEY, WRITER, 7, [REMOVE]), **other)


def sealed(plaintext: bytes) -> bytes:
    head = header("envelope", "v", section=SEED.id, epoch=3, writer="m1", number=7)
    return KEY.public.seal(head, plaintext) + bytes(96)


def test_empty_lines_are_no_operations() -> None:
    assert opened(sealed(b"\n\n" + line(REMOVE) + b"\n\n" + line(DELETE) + b"\n")) == [REMOVE, DELETE]


MALFORMED = {
    "no JSON": b"nothing",
    "no object": b"[]",
    "a text": b'"put"',
    "a number": b"5",
    "no member": b"{}",
    "a resource that is cut off": line(PUT)[:-3],
    "no text": b"\xff",
    "an unsound one behind a sound one": line(PUT) + b"\n" + line(replace(DELETE, version=0)),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_a_writer_signed_and_is_no_operation_is_refused(case: str) -> None:
    with pytest.raises(Tampered, match="a stored envelope holds no operations"):
        opened(sealed(MALFORMED[case]))


# --- the header's claim


def claimed(**members_: Any) -> Claim:
    head = orjson.dumps(members_)
    return claim(b"PRS1" + len(head).to_bytes(2, "big") + head + b"rest")


STATED: dict[str, Any] = {"section": "s", "epoch": 2, "writer": "w", "number": 9}


def test_a_header_claims_what_it_says() -> None:
    assert claimed(**STATED) == Claim("s", 2, "w", 9)
    assert claimed(section=1, epoch="2", writer=3, number="9") == Claim("1", 2, "3", 9)


@pytest.mark.parametrize("missing", STATED)
def test_a_header_that_says_less_claims_nothing(missing: str) -> None:
    with pytest.raises(Tampered, match="a stored envelope has no readable header"):
        claimed(**{name: value for name, value in STATED.items() if name != missing})


@pytest.mark.parametrize("wrong", [{"epoch": "two"}, {"number": None}, {"epoch": []}])
def test_a_header_of_other_types_claims_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(Tampered, match="a stored envelope has no readable header"):
        claimed(**STATED | wrong)


# --- what may stand in it

SOUND: dict[str, Operation] = {
    "a put": PUT,
    "a deletion": DELETE,
    "a removal": REMOVE,
    "a Binary with its blob": BINARY,
    "a Binary without": replace(BINARY, blob=None),
    "every letter of an id": replace(REMOVE, local="abcdefghijklmnopqrstuvwxyz"),
    "every digit of an id": replace(REMOVE, local="234567" + "a" * 20),
    "no type": replace(DELETE, resource_type=""),
    "the last version": replace(DELETE, version=2**31 - 1),
    "warnings": replace(PUT, warnings=("a", "b")),
    "an origin": replace(PUT, origin={"source": "a", "locator": "b"}),
    "meta": replace(PUT, resource=body(meta={"versionId": "1"})),
    "as deep as can be": replace(
        PUT, resource=body()[:-1] + b',"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    ),
    "as deep as can be, and wide": replace(
        PUT, resource=body(b=[[], []])[:-1] + b',"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    ),
    "wide, and not deep": replace(PUT, resource=body(a=[[]] * 200)),
    "white space": replace(PUT, resource=body().replace(b",", b", ")),
    "a number as it came": replace(PUT, resource=body()[:-1] + b',"a":0.40}'),
}
_ARRAYS = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
_OBJECTS = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
UNSOUND: dict[str, Any] = {
    "an id that is no text": replace(PUT, local=LOCAL.encode()),  # type: ignore[arg-type]
    "an id that is a number": replace(REMOVE, local=5),  # type: ignore[arg-type]
    "a longer id": replace(REMOVE, local="l" * 27),
    "a shorter id": replace(REMOVE, local="l" * 25),
    "an id in capitals": replace(REMOVE, local="L" * 26),
    "an id with a digit that there is not": replace(REMOVE, local="1" + "l" * 25),
    "a type that is no text": replace(DELETE, resource_type=5),  # type: ignore[arg-type]
    "a removed one's type that is no text": replace(REMOVE, resource_type=None),  # type: ignore[arg-type]
    "version 0": replace(DELETE, version=0),
    "a version of the other side": replace(DELETE, version=-1),
    "a version too high": replace(DELETE, version=2**31),
    "a version that is a truth": replace(DELETE, version=True),
    "a version that is no number": replace(DELETE, version="1"),  # type: ignore[arg-type]
    "an origin that is no object": replace(DELETE, origin=["a"]),  # type: ignore[arg-type]
    "an origin of numbers": replace(DELETE, origin={"a": "b", "c": 1}),
    "warnings of numbers": replace(PUT, warnings=("a", 1)),  # type: ignore[arg-type]
    "nested arrays too deep": replace(PUT, resource=body()[:-1] + b',"a":' + _ARRAYS + b"}"),
    "nested objects too deep": replace(PUT, resource=body()[:-1] + b',"a":' + _OBJECTS + b"}"),
    "another type": replace(PUT, resource=body(resourceType="Patient")),
    "another id": replace(PUT, resource=body(id=f"v.{'m' * 26}")),
    "another vault": replace(PUT, resource=body(id=f"w.{LOCAL}")),
    "no id": replace(PUT, resource=b'{"resourceType":"Basic"}'),
    "meta that is a text": replace(PUT, resource=body(meta="x")),
    "meta that is nothing": replace(PUT, resource=body(meta=None)),
    "a blob of what is no Binary": replace(PUT, blob=BLOB),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_is_sound_may_stand_in_an_envelope(case: str) -> None:
    refuse_unsound("v", SOUND[case])


@pytest.mark.parametrize("case", UNSOUND)
def test_what_is_not_sound_may_not(case: str) -> None:
    with pytest.raises(ValueError, match="an operation is not of the format"):
        refuse_unsound("v", UNSOUND[case])


@pytest.mark.parametrize("updated", ["", "yesterday", "2026-11-21T20:30:00"])
@pytest.mark.parametrize("operation", [PUT, DELETE])
def test_an_instant_is_one_with_its_zone(operation: Put | Delete, updated: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|time zone"):
        refuse_unsound("v", replace(operation, updated=updated))


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="an object holds the same key twice"):
        refuse_unsound("v", replace(PUT, resource=body()[:-1] + b',"a":1,"a":2}'))
