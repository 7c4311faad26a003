"""Whose an envelope is, rule by rule: what vouches for what, and what a writer names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from aggregator.vault import vouching
from aggregator.vault.envelope import NONE, Signed, read_envelope, seal
from aggregator.vault.keys import Certificate, Root, SectionKey, Writer
from aggregator.vault.vouching import genuine, last, previous

pytestmark = pytest.mark.storeless

SEED = Root(bytes(range(32))).section("5ec7104a5ec7104a")
KEY = SectionKey(SEED.id, 1, SEED.private_key().public())
M1, M2 = (Writer(name, bytes([number] * 32)) for number, name in enumerate(("m1", "m2"), 1))
AUTHORS = {
    one.id: Certificate(writer=one.id, source="s", public=one.public(), sections=frozenset(), first=9)
    for one in (M1, M2)
}


def chained(number: int, writer: Writer = M1, before: bytes = NONE) -> list[Signed]:
    """So many envelopes of one writer, each of which names the one before."""
    made = list[Signed]()
    for n in range(1, number + 1):
        made.append(read_envelope(seal("v", KEY, writer, n, [], made[-1].link if made else before)))
    return made


def spoiled(envelope: Signed) -> Signed:
    return replace(envelope, signature=bytes(64))


def found(*envelopes: Signed, sections: Sequence[str] = (SEED.id,)) -> set[int]:
    """Of these, at the positions from 1 on."""
    return genuine(dict(enumerate(envelopes, 1)), AUTHORS, set(sections))


def test_the_newest_signature_is_over_all_that_came_before() -> None:
    *older, newest = chained(4)
    assert found(*map(spoiled, older), newest) == {1, 2, 3, 4}
    assert found(*older, spoiled(newest)) == {1, 2, 3}


def test_one_verification_is_enough_for_a_whole_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[bytes]()
    monkeypatch.setattr("aggregator.vault.vouching.verify", lambda _public, signature, *_: asked.append(signature))
    one, two, three = chained(3)
    assert found(one, two, three) == {1, 2, 3}
    assert asked == [three.signature]


def test_positions_tell_what_is_newer_and_not_the_order_in_which_they_come() -> None:
    one, two = chained(2)
    assert genuine({7: two, 3: spoiled(one)}, AUTHORS, {SEED.id}) == {3, 7}
    assert genuine({3: spoiled(two), 7: one}, AUTHORS, {SEED.id}) == {7}


def test_a_forged_one_in_between_is_refused_and_the_older_ones_still_count() -> None:
    one, two, three = chained(3)
    (forged,) = chained(1, Writer("m1", bytes(32)), two.link)
    assert found(spoiled(one), spoiled(two), forged, three) == {1, 2, 4}


@pytest.mark.parametrize("names", ["the genuine one before", "nothing"])
def test_a_claim_alone_makes_nothing_genuine(names: str) -> None:
    """Forgeries that name the genuine, and one another: none is named by a genuine one."""
    one, two = chained(2)
    forged = chained(3, Writer("m1", bytes(32)), one.link if names != "nothing" else NONE)
    assert found(one, *forged, two) == {1, 5}


def test_a_gap_costs_a_verification_and_nothing_else() -> None:
    one, _, three, four = chained(4)
    assert found(one, spoiled(three), four) == {1, 2, 3}
    assert found(spoiled(one), spoiled(three), four) == {2, 3}


def test_a_writer_vouches_for_its_own_alone() -> None:
    (one,) = chained(1)
    theirs = chained(1, M2, one.link)
    assert found(spoiled(one), *theirs) == {2}
    assert found(one, *theirs) == {1, 2}


def test_who_has_no_certificate_vouches_for_nothing() -> None:
    assert found(*chained(2, Writer.generate("m3"))) == set()


def test_what_lies_in_a_section_that_does_not_open_vouches_too() -> None:
    one, two = chained(2)
    elsewhere = replace(two, claim=replace(two.claim, section="0" * 16))
    assert found(spoiled(one), elsewhere) == {1, 2}


def test_what_neither_opens_nor_vouches_is_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.vault.vouching.verify", lambda *_: pytest.fail("nobody needs to know"))
    assert found(*chained(1), sections=()) == set()


def test_a_writer_names_what_it_signed_itself() -> None:
    envelope = seal("v", KEY, M1, 1, [])
    made = read_envelope(envelope)
    assert last(envelope) == made.link + made.signature
    assert len(vouching.NOTHING) == len(last(envelope)) == 96
    assert previous(last(envelope), M1) == made.link


@pytest.mark.attack(28)
def test_a_writer_names_nothing_that_another_signed_or_nobody() -> None:
    kept = last(seal("v", KEY, M1, 1, []))
    assert previous(kept, M2) == NONE
    assert previous(vouching.NOTHING, M1) == NONE
    assert previous(bytes(32) + kept[32:], M1) == NONE
    assert previous(kept[:32] + bytes(64), M1) == NONE
    assert previous(b"", M1) == NONE
