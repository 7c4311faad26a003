"""quantity: a number with its unit. https://hl7.org/fhir/R4/search.html#quantity.

A resource's value is held as it came, in its own unit. A UCUM unit that is asked for is turned into each unit that the
record has and that measures the same: 5.4 g/L finds 540 mg/dL, and no index knows how units relate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from aggregator.fhir.asked import Asked, barred, plain
from aggregator.fhir.clause import Clause, Condition, Values, scoped
from aggregator.fhir.paths import Enter, Leaf
from aggregator.fhir.search_types.number import COMPARED, between, ends, range_ends, real
from aggregator.fhir.search_types.spans import Tested, prefixed
from aggregator.fhir.view import View
from aggregator.vault.index_rows import Rows, Unit
from fhir_profiles.codes import UCUM
from fhir_profiles.ucum import Convert, conversion
from fhir_profiles.unit_spellings import spelled

_MONEY = "urn:iso:std:iso:4217"
_STEPS = 5  # of a meter: as long as a unit takes to be read
_UNITS = "SELECT number, system, code, text FROM unit"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityTest:
    """A number as it was meant, and its unit: system and code, each "" where it was not said."""

    prefix: str
    ends: Mapping[str, Decimal]
    system: str
    code: str

    def converted(self, unit: Unit) -> bool:
        """Whether to compare with that unit takes a conversion."""
        return self.system == UCUM and self.code != unit.code

    def conversion(self, unit: Unit) -> Convert | None:
        """From the unit that is asked for to one of the record's; None where that is not meant."""
        system, code, text = unit
        if not self.code or (self.code == code and self.system in ("", system)):
            return float
        if not self.system:
            return float if self.code == text or _ucum(self.code) == (code or _ucum(text)) else None
        ucum = code if system == UCUM else spelled(text or code) if not system else None
        return conversion(self.code, ucum) if ucum and self.system == UCUM else None


def _ucum(text: str) -> str:
    """What a unit's text means; itself where that is not known."""
    return spelled(text) or text


class Quantities(Tested[QuantityTest]):
    """By its number and its unit."""

    __slots__ = ()

    def clause(self, view: View) -> Clause:
        """Every row of these scopes is looked at."""
        units = [(number, Unit(*named)) for number, *named in view.image.select(_UNITS)]
        conversions = sum(test.converted(unit) for test in self.tests for _, unit in units)
        view.image.meter.spend(_STEPS * conversions)
        found = [part for test in self.tests for part in _compared(test, units)]
        texts = " OR ".join(text for text, _ in found) or "FALSE"
        return Clause(
            table="span",
            holds=f"{scoped(self.scopes)} AND ({texts})",
            values=[value for _, values in found for value in values],
            size=view.image.count(self.resource_type),
        )


def _compared(test: QuantityTest, units: list[tuple[int, Unit]]) -> Iterator[tuple[str, Values]]:
    """The comparison once for each number that the query's becomes in the record's units."""
    holds, names = COMPARED[test.prefix]
    found = dict[tuple[float, ...], list[int]]()
    for number, unit in units:
        if convert := test.conversion(unit):
            found.setdefault(tuple(convert(test.ends[name]) for name in names), []).append(number)
    for values, numbers in found.items():
        compared = holds.format(low="{row}.low", high="{row}.high")
        yield f"{{row}}.unit IN ({', '.join('?' * len(numbers))}) AND {compared}", [*numbers, *values]


def parse(asked: Asked) -> Condition:
    """`number`, `number|system|code`, or `number||code`, whose code may be the unit as people write it."""
    return Quantities.of(asked, _test)


def _test(asked: Asked, value: str) -> QuantityTest:
    prefix, text = prefixed(asked, value)
    number, unit = barred(text) or (text, "|")
    named = barred(unit)
    if named is None:
        raise asked.bad("behind the number's bar a system and, behind one more, a code")
    system, code = map(plain, named)
    if system and not code:
        raise asked.bad("a system without a code")
    return QuantityTest(prefix=prefix, ends=ends(asked, number), system=system, code=code)


def _unit(value: Mapping[str, Any]) -> Unit:
    system, code, text = (
        found if isinstance(found := value.get(name), str) else "" for name in ("system", "code", "unit")
    )
    return Unit(system, code, "" if text == code else text)


def _quantity(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    """A comparator leaves one end open: below the number, or up to it."""
    number = real(value.get("value")) if isinstance(value, dict) else None
    if number is None:
        return False
    comparator = value.get("comparator")
    low = None if comparator in ("<", "<=") else number
    high = None if comparator in (">", ">=") else number
    return between((low, high), scope, _unit(value), into)


def _money(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    number = real(value.get("value")) if isinstance(value, dict) else None
    if number is None:
        return False
    return between((number, number), scope, Unit(_MONEY, str(value.get("currency", "")), ""), into)


def _range(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    low, high = range_ends(value)
    return between((real(low.get("value")), real(high.get("value"))), scope, _unit(low or high), into)


def _sampled(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    """From the lowest measured to the highest. https://hl7.org/fhir/R4/datatypes.html#sampleddata."""
    origin = value.get("origin") if isinstance(value, dict) else None
    data = value.get("data") if isinstance(origin, dict) else None
    if not isinstance(data, str) or not isinstance(origin, dict):
        return False
    zero, factor = real(origin.get("value")) or 0.0, real(value.get("factor", 1)) or 0.0
    found = [zero + factor * float(number) for number in data.split() if _plain_number(number)]
    return between((min(found), max(found)), scope, _unit(origin), into) if found else False


def _plain_number(text: str) -> bool:
    """And not E, U or L: an error, below or above what can be measured."""
    return text.removeprefix("-").replace(".", "", 1).isdecimal() and text.isascii()


ROWS: Mapping[str, Enter] = {
    "Quantity": _quantity,
    "Age": _quantity,
    "Duration": _quantity,
    "Money": _money,
    "Range": _range,
    "SampledData": _sampled,
}
