"""FHIR JSON as text: parse and print without touching a number.

FHIR gives the digits of a decimal a meaning: 0.40 is not 0.4 (https://hl7.org/fhir/R4/datatypes.html#decimal). So a
number that is not a plain integer is kept as the text that came, in `Number`, and printed as that text again. Duplicate
keys are refused, because two readers would see two different resources.

A parsed resource is a `dict` of `dict`, `list`, `str`, `int`, `bool`, `None` and `Number`.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

Resource = dict[str, Any]

# Deeper than any real resource (Questionnaire nests about 20 levels), far from Python's recursion limit.
MAX_DEPTH = 64
_LONGEST_INT = 18  # digits that fit 64 bits, what orjson prints; longer ones stay text


class NotJson(ValueError):
    """The bytes are not JSON that this service takes. The message names the place, never the content."""


class Number:
    """A JSON number as it was written. Equal when the text is equal: 0.40 != 0.4."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Number({self.text})"

    def decimal(self) -> Decimal:
        """The value. Raises NotJson where the exponent is beyond what Decimal holds."""
        try:
            return Decimal(self.text)
        except InvalidOperation as error:
            raise NotJson("a number is out of range") from error


def _int(text: str) -> int | Number:
    return Number(text) if len(text) > _LONGEST_INT or text == "-0" else int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise NotJson("an object holds the same key twice")
    return made


def _constant(_: str) -> None:
    raise NotJson("NaN and Infinity are not JSON")


_decoder = json.JSONDecoder(parse_float=Number, parse_int=_int, parse_constant=_constant, object_pairs_hook=_object)


def loads(text: bytes | str) -> Any:
    """Parse. Raises NotJson for bad UTF-8, bad syntax, a duplicate key, too deep nesting or a lone surrogate."""
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        value = _decoder.decode(decoded.removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise NotJson(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise NotJson("nested too deeply") from None
    if "\\u" in decoded:  # only an escape can bring a lone surrogate into valid UTF-8
        _refuse_lone_surrogates(value)
    return value


def peek(text: bytes) -> Any:
    """The same of a text that was taken before, for whoever looks at no number: several times as fast."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # a number out of its range
        return loads(text)


def reread(text: bytes) -> Any:
    """The same as `loads`, twice as fast where the faster parser prints the text again to the byte.

    Then it holds no key twice, and its numbers, floats among them, are written as they came.
    """
    found = peek(text)
    return found if dumps(found) == text else loads(text)


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        dumps(value)
    except (TypeError, UnicodeEncodeError):
        raise NotJson("a string holds half of a surrogate pair") from None


def _fragment(value: Any) -> orjson.Fragment:
    if isinstance(value, Number):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


def dumps(value: Any, *, pretty: bool = False) -> bytes:
    """Print as UTF-8 JSON, members in the order they came, numbers as they were written; compact, or for people."""
    return orjson.dumps(value, default=_fragment, option=orjson.OPT_INDENT_2 if pretty else None)


def depth(value: Any) -> int:
    """How deep objects and arrays nest; a scalar is 0. Stops counting beyond MAX_DEPTH + 1."""
    level, layer = 0, [value] if isinstance(value, dict | list) else []
    while layer and level <= MAX_DEPTH:
        level += 1
        children = (child for node in layer for child in (node.values() if isinstance(node, dict) else node))
        layer = [child for child in children if isinstance(child, dict) or isinstance(child, list)]  # noqa: SIM101
    return level
