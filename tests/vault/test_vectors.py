"""Every vector gives what it expects with today's code, and every construct of the format has its vectors."""

from __future__ import annotations

import hashlib

import pytest

from aggregator.errors import AggregatorError
from aggregator.vault.encoding import unb64
from aggregator.vault.seal import SuiteId
from tests.vault import vectors
from tests.vault.make_vectors import all_vectors

NAMES = vectors.names()
pytestmark = [pytest.mark.usefixtures("real_argon2"), pytest.mark.storeless]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.attack(21, 23)
def test_a_vector_gives_what_it_expects(name: str) -> None:
    vector = vectors.read(name)
    if vector["expect"] == "open":
        assert vectors.attempt(vector) == vector["gives"]
    else:
        with pytest.raises(AggregatorError, match=vectors.REFUSALS[vector["expect"]]):
            vectors.attempt(vector)


@pytest.mark.parametrize("name", [name for name in NAMES if "sha256" in vectors.read(name).get("gives", {})])
def test_a_readable_plaintext_is_the_one_that_opens(name: str) -> None:
    vector = vectors.read(name)
    readable = vector["inputs"].get("plaintext", vector["inputs"].get("text"))
    assert vector["gives"] == {"sha256": hashlib.sha256(readable.encode()).hexdigest()}


def test_the_files_are_those_that_the_script_makes() -> None:
    made = dict(all_vectors())
    assert sorted(made) == NAMES
    for name, vector in made.items():
        stored = vectors.read(name)
        told = {key: stored[key] for key in ("title", "construct", "expect")}
        assert told == {key: vector[key] for key in told}


def test_every_construct_refusal_and_suite_has_a_vector() -> None:
    stored = [vectors.read(name) for name in NAMES]
    assert {one["construct"] for one in stored} == set(vectors.CONSTRUCTS)
    assert {one["construct"] for one in stored if one["expect"] == "open"} == set(vectors.CONSTRUCTS)
    assert {one["expect"] for one in stored} == {"open", *vectors.REFUSALS}
    assert {one["inputs"].get("suite") for one in stored if one["construct"] == "sealed box"} == set(SuiteId)


def test_the_boxes_begin_as_the_format_says() -> None:
    """The bytes themselves, spelled out from FORMAT.md section 4, without the code that makes them."""
    head = b'{"epoch":1,"format":3,"kind":"envelope","number":7,"section":"5ec7104a5ec7104a",'
    head += b'"suite":1,"vault":"aaaqeayeaudaocajbifqydiob4","writer":"owner"}'
    sealed = unb64(vectors.read("sealed-suite-1")["inputs"]["box"])
    kem, data_key, tag = 1088 + 32, 32, 16
    wrap_length = kem + data_key + tag
    assert sealed[: 6 + len(head)] == b"PRS1" + len(head).to_bytes(2, "big") + head
    at = 6 + len(head)
    assert int.from_bytes(sealed[at : at + 2], "big") == wrap_length
    wrapped = unb64(vectors.read("wrapped")["inputs"]["box"])
    plain = head.replace(b'"suite":1,', b"")
    assert wrapped[: 6 + len(plain)] == b"PRW1" + len(plain).to_bytes(2, "big") + plain
