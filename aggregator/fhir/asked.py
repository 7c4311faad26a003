"""A parameter as it was asked: its values between the separators, still to be understood by its type.

https://hl7.org/fhir/R4/search.html#escaping. A comma divides alternatives, a bar the system from the code; behind a
backslash both are characters like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.parameters import Parameter

_VALUE = re.compile(r"(?:[^\\,]|\\.)*", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_BAR = re.compile(r"((?:[^\\|]|\\.)*)\|(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """name: with its modifier, as it was sent. values: the alternatives, still escaped. base_url: of this service."""

    parameter: Parameter
    name: str
    modifier: str
    values: tuple[str, ...]
    base_url: str

    def bad(self, text: str) -> BadQuery:
        """The error that names this parameter. text: what is wrong, without a value."""
        return BadQuery(self.name, text)


def alternatives(name: str, value: str) -> Iterator[str]:
    """The values between the commas, still escaped. Raises BadQuery for an empty one."""
    at = -1
    while at < len(value):
        end = next(_VALUE.finditer(value, at + 1)).end()
        if end == at + 1 or value[end : end + 1] not in ("", ","):
            raise BadQuery(name, "an empty value, or a backslash with nothing behind it")
        yield value[at + 1 : end]
        at = end


def barred(value: str) -> tuple[str, str] | None:
    """What stands before the first bar and behind it, still escaped; None where there is none."""
    found = _BAR.fullmatch(value)
    return None if found is None else (found[1], found[2])


def plain(text: str) -> str:
    """Without its backslashes."""
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text
