"""Canonical bytes, base32 and padded lengths."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.vault.encoding import b32, b32_all, b64, canonical, instant, padme, unb32_all, unb64
from tests.vault.world import START

pytestmark = pytest.mark.storeless

LENGTHS = st.integers(min_value=0, max_value=2**40)


@given(LENGTHS)
def test_padding_never_shortens_and_adds_at_most_12_percent(length: int) -> None:
    assert length <= padme(length) <= length * 1.12


@given(LENGTHS, LENGTHS)
def test_padding_keeps_the_order(one: int, other: int) -> None:
    assert padme(min(one, other)) <= padme(max(one, other))


@given(LENGTHS)
def test_a_padded_length_is_its_own(length: int) -> None:
    assert padme(padme(length)) == padme(length)


@pytest.mark.attack(32)
def test_few_lengths_are_left_to_tell_sizes_apart() -> None:
    """O(log log n) bits: of all lengths up to a megabyte, 301 remain."""
    assert len({padme(length) for length in range(1 << 20)}) == 301


@given(st.dictionaries(st.text(), st.integers(-(2**53), 2**53) | st.text() | st.lists(st.text())))
def test_canonical_json_does_not_depend_on_order(value: dict[str, object]) -> None:
    assert canonical(value) == canonical(dict(reversed(value.items())))


def test_canonical_json_is_sorted_and_without_white_space() -> None:
    value = {"b": [1, {"z": "ä", "a": ""}], "a": "x y"}
    assert canonical(value) == '{"a":"x y","b":[1,{"a":"","z":"ä"}]}'.encode()


@given(st.binary(min_size=16, max_size=16))
def test_base32_of_16_bytes_is_an_id(raw: bytes) -> None:
    text = b32(raw)
    assert len(text) == 26
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz234567")


@given(st.binary())
def test_base64_gives_back_its_bytes(raw: bytes) -> None:
    assert unb64(b64(raw)) == raw


def test_base64_refuses_other_characters() -> None:
    with pytest.raises(ValueError, match="base64"):
        unb64("AA-_")


def test_an_instant_is_utc_with_milliseconds() -> None:
    assert instant(START) == "2026-11-21T20:30:00.000Z"
    assert instant(datetime(2026, 3, 1, 0, 15, 0, 999, timezone(timedelta(hours=5, minutes=45)))) == (
        "2026-02-28T18:30:00.000Z"
    )
    assert instant(datetime(2026, 3, 1, tzinfo=UTC)) == "2026-03-01T00:00:00.000Z"


@given(st.lists(st.binary(min_size=16, max_size=16)))
def test_many_ids_are_each_ones_base32(raws: list[bytes]) -> None:
    ids = b32_all(b"".join(raws))
    assert ids == [b32(raw) for raw in raws]
    assert unb32_all(ids) == b"".join(raws)
