"""Operations as lines, and lines as sealed and signed envelopes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.errors import Tampered
from aggregator.vault.envelope import (
    Claim,
    Delete,
    Operation,
    Put,
    Remove,
    claim,
    line,
    open_envelope,
    parse_line,
    seal,
)
from aggregator.vault.keys import Root, SectionKey, SectionSeed, Writer, verify
from aggregator.vault.seal import header
from fhir_profiles.text import Number, dumps

pytestmark = pytest.mark.storeless

ROOT = Root(bytes(range(32)))
SEED = ROOT.section("5ec7104a5ec7104a")
WRITER = Writer("m1", bytes(range(1, 33)))
AWKWARD = [',"resource":', '"', "\\", "}", '{"op":"remove"', "\n", "\u2028", "0.40", "👩‍⚕️"]


def key(seed: SectionSeed) -> SectionKey:
    return SectionKey(seed.id, seed.epoch, seed.private_key().public())


texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(AWKWARD)
numbers = st.sampled_from(["0.40", "1E5", "-0", "1.0", "99999999999999999999", "0.000"]).map(Number)
values = st.recursive(
    texts | numbers | st.booleans() | st.none() | st.integers(-(10**17), 10**17),
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=12,
)
resources = st.dictionaries(texts | st.just("resource"), values).map(dumps)
names = st.sampled_from(["source", "locator", "source_id", "fetched_at", "hash", "connector"])
origins = st.dictionaries(names, texts)
versions = st.integers(1, 10**6)
puts = st.builds(
    Put,
    local=texts,
    resource_type=texts,
    version=versions,
    updated=texts,
    resource=resources,
    origin=origins,
    warnings=st.lists(texts).map(tuple),
)
deletes = st.builds(Delete, local=texts, resource_type=texts, version=versions, updated=texts, origin=origins)
operations: st.SearchStrategy[Operation] = st.one_of(puts, deletes, st.builds(Remove, local=texts, resource_type=texts))
"""Anything that can be a line."""


def identified(operation: Operation, local: str, members: dict[str, object]) -> Operation:
    """The operation as it may be sealed: for one local id, with an instant, and a resource that bears the id."""
    if isinstance(operation, Remove):
        return replace(operation, local=local)
    operation = replace(operation, local=local, updated="2026-11-21T20:30:00.000Z")
    if isinstance(operation, Delete):
        return operation
    named = {"resourceType": operation.resource_type, "id": f"v.{local}", "meta": {}}
    return replace(operation, resource=dumps(members | named))


local_ids = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=26, max_size=26)
sound = st.builds(identified, operations, local_ids, st.dictionaries(texts | st.just("resource"), values))


@given(operations)
def test_a_line_gives_back_its_operation(operation: Operation) -> None:
    text = line(operation)
    assert parse_line(text) == operation
    assert b"\n" not in text


def test_a_resource_is_cut_out_as_it_came() -> None:
    """Number text, member order, escapes and a member of its own name stay byte for byte."""
    body = rb'{"b":0.40,"a":1E5,"text":",\"resource\":","resource":{"resource":-0},"u":"\u00e4"}'
    put = Put(local="l", resource_type="Basic", version=1, updated="2026-11-21T20:30:00.000Z", resource=body)
    assert parse_line(line(put)) == put


def test_lines_are_those_of_the_format() -> None:
    put = Put(
        local="l",
        resource_type="Basic",
        version=2,
        updated="2026-11-21T20:30:00.000Z",
        resource=b'{"a":0.40}',
        origin={"source": "klinik"},
        warnings=("w",),
    )
    delete = Delete(local="l", resource_type="Basic", version=2, updated=put.updated, origin=put.origin)
    assert [line(put), line(delete), line(REMOVE)] == [
        b'{"op":"put","id":"l","type":"Basic","version":2,"updated":"2026-11-21T20:30:00.000Z",'
        b'"origin":{"source":"klinik"},"warnings":["w"],"resource":{"a":0.40}}',
        b'{"op":"delete","id":"l","type":"Basic","version":2,"updated":"2026-11-21T20:30:00.000Z",'
        b'"origin":{"source":"klinik"}}',
        b'{"op":"remove","id":"llllllllllllllllllllllllll","type":"Basic"}',
    ]


REMOVE = Remove(local="l" * 26, resource_type="Basic")


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])  # whose reason is the machine's load
@given(st.lists(sound, max_size=5))
def test_an_envelope_gives_back_its_operations(batch: list[Operation]) -> None:
    envelope = seal("v", key(SEED), WRITER, 7, batch)
    assert claim(envelope) == Claim(SEED.id, 1, "m1", 7)
    assert opened(envelope) == batch


LOCAL = "l" * 26
DELETE = Delete(local=LOCAL, resource_type="Basic", version=2, updated="2026-11-21T20:30:00.000Z")
PUT = Put(
    local=LOCAL,
    resource_type="Basic",
    version=1,
    updated="2026-11-21T20:30:00.000Z",
    resource=b'{"resourceType":"Basic","id":"v.' + LOCAL.encode() + b'"}',
)
UNSOUND: dict[str, Operation] = {
    "a local id of another form": replace(PUT, local="L"),
    "a local id of another form to remove": Remove(local="../x", resource_type="Basic"),
    "no instant": replace(PUT, updated="notadate"),
    "no instant of a deletion": replace(DELETE, updated=""),
    "an instant without a time zone": replace(PUT, updated="2026-11-21T20:30:00"),
    "version 0": replace(PUT, version=0),
    "a version beyond all counting": replace(DELETE, version=2**63),
    "a version that is none": replace(PUT, version=True),
    "an origin of numbers": replace(DELETE, origin={"source": 1}),
    "warnings that are no texts": replace(PUT, warnings=(1,)),  # type: ignore[arg-type] - as above
    "a type that is no text": replace(PUT, resource_type=5),  # type: ignore[arg-type] - as above
    "another type": replace(PUT, resource_type="Patient"),
    "another vault's id": replace(PUT, resource=PUT.resource.replace(b"v.", b"w.")),
    "another resource's id": replace(PUT, local="m" * 26),
    "no object": replace(PUT, resource=b"[]"),
    "meta that is no object": replace(PUT, resource=PUT.resource[:-1] + b',"meta":5}'),
    "a key twice": replace(PUT, resource=PUT.resource[:-1] + b',"status":"a","status":"b"}'),
    "nesting that no reader takes": replace(PUT, resource=PUT.resource[:-1] + b',"a":' + b"[" * 99 + b"]" * 99 + b"}"),
}
"""What a writer's key can sign, and what would fail when an image is built, or a resource read."""


@pytest.mark.attack(28, 46)
@pytest.mark.parametrize("case", UNSOUND)
def test_a_signed_envelope_with_an_unsound_operation_is_refused(case: str) -> None:
    assert opened(seal("v", key(SEED), WRITER, 7, [PUT, DELETE])) == [PUT, DELETE]
    with pytest.raises(Tampered, match="holds no operations"):
        opened(seal("v", key(SEED), WRITER, 7, [PUT, UNSOUND[case], DELETE]))


@pytest.mark.attack(28, 46)
def test_a_signed_envelope_with_a_resource_that_is_no_json_is_refused() -> None:
    head = header("envelope", "v", section=SEED.id, epoch=1, writer="m1", number=7)
    for broken in (b"{not json", b'{}} {"a":1', b"\xff", b'"\\ud800"'):
        text = line(PUT).replace(PUT.resource, broken)
        with pytest.raises(Tampered, match="holds no operations"):
            opened(_signed(key(SEED).public.seal(head, text)))


def opened(
    envelope: bytes, vault: str = "v", seed: SectionSeed = SEED, writer: Writer = WRITER, number: int = 7
) -> list[Operation]:
    box, previous, signature = envelope[:-96], envelope[-96:-64], envelope[-64:]
    verify(writer.public(), signature, b"PRA1/envelope" + _link(previous, box), "envelope")
    return open_envelope(vault, box, seed, writer.id, number)


def _link(previous: bytes, box: bytes) -> bytes:
    return hashlib.sha256(previous + hashlib.sha256(box).digest()).digest()


OTHER_SECTION = ROOT.section("0000000000000000")
REFUSED: dict[str, tuple[Callable[[bytes], object], str]] = {
    "another vault": (lambda made: opened(made, vault="w"), "stands where another belongs"),
    "another section": (lambda made: opened(made, seed=OTHER_SECTION), "stands where another belongs"),
    "another epoch": (lambda made: opened(made, seed=ROOT.section(SEED.id, 2)), "stands where another belongs"),
    "another number": (lambda made: opened(made, number=8), "stands where another belongs"),
    "another author's key": (lambda made: opened(made, writer=Writer.generate("m1")), "signature"),
    "another author's name": (
        lambda made: open_envelope("v", made[:-96], SEED, "m2", 7),
        "stands where another belongs",
    ),
    "another root's section": (
        lambda made: opened(made, seed=Root(bytes(32)).section(SEED.id)),
        "does not open with its key",
    ),
    "a signature cut off": (lambda made: opened(made[:-1]), "signature"),
    "nothing": (lambda _: opened(b""), "signature"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.attack(21, 28)
def test_an_envelope_elsewhere_is_refused(case: str) -> None:
    attempt, told = REFUSED[case]
    with pytest.raises(Tampered, match=told):
        attempt(seal("v", key(SEED), WRITER, 7, [REMOVE]))


def test_every_byte_is_signed() -> None:
    envelope = seal("v", key(SEED), WRITER, 7, [REMOVE])
    for at in range(0, len(envelope), 7):
        with pytest.raises(Tampered, match="signature"):
            opened(envelope[:at] + bytes([envelope[at] ^ 1]) + envelope[at + 1 :])


@pytest.mark.parametrize("plaintext", [b"not JSON", b'{"op":"put"}', b"[]", b'{"op":"delete","id":"l"}', b"\xff"])
def test_a_signed_envelope_without_operations_is_refused(plaintext: bytes) -> None:
    head = header("envelope", "v", section=SEED.id, epoch=1, writer="m1", number=7)
    signed = seal("v", key(SEED), WRITER, 7, [])
    assert opened(signed) == []
    with pytest.raises(Tampered, match="holds no operations"):
        opened(_signed(key(SEED).public.seal(head, plaintext)))


def _signed(box: bytes) -> bytes:
    return box + bytes(32) + WRITER.sign(b"PRA1/envelope" + _link(bytes(32), box))


@pytest.mark.parametrize("head", [b"", b"[]", b"{}", b'{"section":"s","epoch":1,"writer":"w"}', b"\xff"])
def test_an_unreadable_header_claims_nothing(head: bytes) -> None:
    with pytest.raises(Tampered, match="no readable header"):
        claim(b"PRS1" + len(head).to_bytes(2, "big") + head)


def test_what_is_no_box_claims_nothing() -> None:
    for envelope in (b"", b"PRS", b"PRS1", b"PRS1\0", b"nope" * 30):
        with pytest.raises(Tampered):
            claim(envelope)
