"""FHIR JSON as text: numbers as written, and every refusal."""

from __future__ import annotations

from decimal import Decimal

import pytest

from fhir_profiles.text import MAX_DEPTH, NotJson, Number, depth, dumps, loads


@pytest.mark.parametrize(
    "text",
    ["7.20", "0.40", "-0.0", "-0", "1e-7", "1E+5", "12345678901234567890", "0", "-7", "1.00000000000000000000001"],
)
def test_a_number_stays_as_written(text: str) -> None:
    assert dumps(loads(text)) == text.encode()


def test_numbers_are_compared_as_written() -> None:
    assert loads("0.40") == Number("0.40")
    assert loads("0.40") != loads("0.4")
    assert len({Number("1.0"), Number("1.0"), Number("1.00")}) == 2
    assert Number("0.40").decimal() == Decimal("0.4")
    assert repr(Number("0.40")) == "Number(0.40)"


def test_members_keep_their_order() -> None:
    assert dumps(loads('{ "b": [1.0, null, true], "a": "\\u00e4" }')) == '{"b":[1.0,null,true],"a":"ä"}'.encode()


def test_a_byte_order_mark_is_skipped() -> None:
    assert loads(b"\xef\xbb\xbf{}") == {}


REFUSED = {
    "nothing": (b"", "Expecting value at line 1 column 1"),
    "half of it": (b'{"a":', "Expecting value at line 1 column 6"),
    "more than one": (b"{}{}", "Extra data at line 1 column 3"),
    "another encoding": ('{"a":"ä"}'.encode("iso-8859-1"), "not UTF-8 at byte 6"),
    "the same key twice": (b'{"a":1,"a":1}', "an object holds the same key twice"),
    "NaN": (b"NaN", "NaN and Infinity are not JSON"),
    "Infinity": (b"-Infinity", "NaN and Infinity are not JSON"),
    "half of a surrogate pair": (rb'{"a":"\ud800"}', "a string holds half of a surrogate pair"),
    "half of a surrogate pair as a key": (rb'{"\ud800":1}', "a string holds half of a surrogate pair"),
    "too much nesting": (b"[" * 100_000, "nested too deeply"),
}


@pytest.mark.attack(46)
@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(text: bytes, message: str) -> None:
    with pytest.raises(NotJson) as caught:
        loads(text)
    assert str(caught.value) == message


def test_a_whole_surrogate_pair() -> None:
    assert loads(rb'"\ud83d\ude00"') == "\U0001f600"


def test_a_number_that_decimal_cannot_hold() -> None:
    with pytest.raises(NotJson):
        Number("1e9999999999999999999").decimal()


@pytest.mark.parametrize(("text", "levels"), [("1", 0), ("{}", 1), ("[1,[2]]", 2), ('{"a":[{"b":1}]}', 3)])
def test_depth(text: str, levels: int) -> None:
    assert depth(loads(text)) == levels


def test_depth_stops_counting() -> None:
    assert depth(loads("[" * 500 + "]" * 500)) == MAX_DEPTH + 1
