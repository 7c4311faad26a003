"""What a vault's root gives, and what it keeps apart."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.errors import Tampered
from aggregator.vault.keys import (
    Certificate,
    IdKey,
    Root,
    SectionSeed,
    Writer,
    handle,
    new_section_id,
    new_vault_id,
    read_certificate,
    verify,
)
from aggregator.vault.seal import expand
from tests.weaken import weakens

pytestmark = pytest.mark.storeless

SECRET = bytes(range(32))
ROOT = Root(SECRET)


def test_every_key_of_a_root_is_another() -> None:
    keys = [
        expand(SECRET, "sign"),
        ROOT.section("a").seed,
        ROOT.section("a", 2).seed,
        ROOT.section("b").seed,
        ROOT.section("a").snapshot_key(),
        ROOT.ids().key,
        ROOT.tag_key(),
        ROOT.ledger_keys(b"x")[:32],
        ROOT.ledger_keys(b"x")[32:],
        ROOT.ledger_keys(b"y")[:32],
        ROOT.owner_key(),
        ROOT.image_key(),
        expand(SECRET, "audit"),
    ]
    assert all(one != other for one, other in combinations(keys, 2))
    assert {len(key) for key in keys} == {32}


def test_a_root_has_32_bytes() -> None:
    for secret in (b"", SECRET[:-1], SECRET + b"\0"):
        with pytest.raises(ValueError, match="32 bytes"):
            Root(secret)


def test_new_roots_and_ids_are_random() -> None:
    assert Root.generate().secret != Root.generate().secret
    vaults = {new_vault_id() for _ in range(100)}
    assert {len(vault) for vault in vaults} == {26}
    assert len(vaults) == 100
    assert {len(new_section_id()) for _ in range(3)} == {16}


def test_the_owner_signs_as_a_writer_with_the_root_signing_key() -> None:
    assert Writer.owner(ROOT).public() == ROOT.verification_key
    verify(ROOT.verification_key, Writer.owner(ROOT).sign(b"m"), b"m", "thing")
    assert Writer.generate("m").public() != Writer.generate("m").public()


@given(st.tuples(st.text(), st.text(), st.text()), st.tuples(st.text(), st.text(), st.text()))
def test_other_source_keys_give_other_ids(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """But where a name holds the separator itself: names are configured, and no FHIR id can hold it."""
    ids = ROOT.ids()
    assert ids.local(*one) == ids.local(*one)
    if "\0" not in "".join(one + other):
        assert (ids.local(*one) == ids.local(*other)) == (one == other)


def test_ids_differ_between_vaults() -> None:
    assert IdKey(SECRET).local("klinik", "erika", "Observation/1") != ROOT.ids().local(
        "klinik", "erika", "Observation/1"
    )


def test_a_handle_says_nothing_without_its_key() -> None:
    assert handle(SECRET, "a") != handle(bytes(32), "a")
    assert len(handle(SECRET, "a")) == 16


def test_a_certificate_covers_its_sections_from_its_first_position() -> None:
    certificate = Certificate(writer="m1", source="0" * 32, public=b"", sections=frozenset({"s1"}), first=5)
    assert [certificate.covers("s1", position) for position in (4, 5, 6)] == [False, True, True]
    assert not certificate.covers("s2", 5)
    ended = replace(certificate, last=6)
    assert [ended.covers("s1", position) for position in (4, 5, 6, 7)] == [False, True, True, False]


def test_a_certificate_without_sections_is_refused() -> None:
    with pytest.raises(Tampered, match="has no sections"):
        read_certificate({"mandate": "m1", "writer": "AA==", "sections": "s1", "source": "0" * 32, "from": 1})


@pytest.mark.attack(28)
@pytest.mark.parametrize("source", [{}, {"source": "owner"}, {"source": ""}, {"source": "0" * 31}])
@weakens("aggregator.vault.keys", "_HANDLE", re.compile(".*"))
def test_a_certificate_without_a_sources_handle_is_refused(source: dict[str, str]) -> None:
    """One for the source `owner` would be one for everything."""
    with pytest.raises(Tampered, match="names no source"):
        read_certificate({"mandate": "m1", "writer": "AA==", "sections": ["s1"], "from": 1} | source)


@pytest.mark.attack(33)
@weakens("aggregator.vault.keys.SectionSeed", "__repr__", lambda one: f"SectionSeed({one.seed!r})")
def test_no_secret_stands_in_what_a_traceback_prints() -> None:
    printed = repr([ROOT, ROOT.section("a"), ROOT.ids(), Writer("w", SECRET), SectionSeed("a", 1, SECRET)])
    assert repr(SECRET) not in printed
    assert repr(ROOT.section("a").seed) not in printed
    assert repr(ROOT.ids().key) not in printed
