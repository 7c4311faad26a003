"""A search as the specification tells it, over whole resources: slow, plain, and nothing of it shared with the service.

https://hl7.org/fhir/R4/search.html. What a parameter looks at is fhirpathpy's answer (`oracle`); dates are read by
`fhir_profiles.dates`, which has tests of its own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from fhir_profiles.dates import EVER, stretch
from tests.fhir import oracle
from tests.fhir.world import BASE

Resource = Mapping[str, Any]
Range = tuple[Fraction | float, Fraction | float]

UCUM = "http://unitsofmeasure.org"
UNITS: Mapping[str, tuple[str, Fraction]] = {
    "g/L": ("mass per volume", Fraction(1)),
    "mg/dL": ("mass per volume", Fraction(1, 100)),
    "mg/L": ("mass per volume", Fraction(1, 1000)),
    "mmol/L": ("substance per volume", Fraction(1)),
    "a": ("time", Fraction(12)),
    "mo": ("time", Fraction(1)),
}
CONTACTS = {"phone", "email"}
SPELLED = {"mg/dl": "mg/dL", "g/l": "g/L"}


def satisfies(resource: Resource, name: str, value: str) -> bool:
    """Whether a resource is found by one parameter. value: alternatives between commas, nothing escaped."""
    bare, _, modifier = name.partition(":")
    kind, expression, last = oracle.of_type(resource["resourceType"])[bare]
    if kind == "composite":
        return any(_together(resource, expression, last, one) for one in value.split(","))
    found = oracle.values(expression, resource)
    if modifier == "missing":
        return (value == "true") == (not found)
    if modifier == "not":
        return not satisfies(resource, bare, value)
    return any(_matches(kind, modifier, one, asked) for one in found for asked in value.split(","))


def _matches(kind: str, modifier: str, value: Any, asked: str) -> bool:
    return MATCHES[kind](value, modifier, asked)


def _together(resource: Resource, expression: str, components: str, asked: str) -> bool:
    parts = asked.split("$")
    for base in expression.split(" | "):
        for place in range(len(oracle.values(base, resource))):
            element = base if base == resource["resourceType"] else f"{base}[{place}]"
            if all(
                _component(resource, element, component, part)
                for component, part in zip(components.split(" $ "), parts, strict=True)
            ):
                return True
    return False


def _component(resource: Resource, element: str, component: str, asked: str) -> bool:
    name, _, expression = component.partition("=")
    kind = oracle.of_type(resource["resourceType"])[name][0]
    found = oracle.values(" | ".join(f"{element}.{one}" for one in expression.split(" | ")), resource)
    return any(_matches(kind, "", one, asked) for one in found)


def _codings(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, bool):
        yield "", str(value).lower()
    elif isinstance(value, str):
        yield "", value
    elif "coding" in value or "text" in value:
        yield from ((one.get("system", ""), one["code"]) for one in value.get("coding", ()) if "code" in one)
    elif "code" in value:
        yield value.get("system", ""), value["code"]
    elif "value" in value:
        yield "" if value.get("system") in CONTACTS else value.get("system", ""), value["value"]


def _token(value: Any, modifier: str, asked: str) -> bool:
    if modifier == "text":
        return any(_folded(text).startswith(_folded(asked)) for text in _words(value))
    if modifier == "of-type":
        system, code, text = asked.split("|")
        types = value.get("type", {}).get("coding", ())
        return value.get("value") == text and any((one["system"], one["code"]) == (system, code) for one in types)
    system, bar, code = asked.rpartition("|")
    return any((not bar or system == own) and (not code or code == text) for own, text in _codings(value))


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from filter(None, [value.get("text"), value.get("display"), value.get("type", {}).get("text")])
        yield from (one["display"] for one in value.get("coding", ()) if "display" in one)


def _folded(text: str) -> str:
    return "".join(one for one in unicodedata.normalize("NFD", text.casefold()) if not unicodedata.combining(one))


def _string(value: Any, modifier: str, asked: str) -> bool:
    texts = [value] if isinstance(value, str) else [*_strings([part for name, part in value.items() if name != "use"])]
    if modifier == "exact":
        return asked in texts
    if modifier == "contains":
        return any(_folded(asked) in _folded(text) for text in texts)
    return any(_folded(text).startswith(_folded(asked)) for text in texts)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)


def _uri(value: Any, modifier: str, asked: str) -> bool:
    if modifier == "below":
        return str(value).startswith(asked)
    return asked.startswith(value) if modifier == "above" else bool(asked == value)


def _reference(value: Any, modifier: str, asked: str) -> bool:
    if modifier == "identifier":
        system, bar, code = asked.rpartition("|")
        identifier = value.get("identifier", {})
        return code == identifier.get("value") and (not bar or system == identifier.get("system", ""))
    named, asked = value.get("reference", "").split("/_history/")[0], asked.removeprefix(f"{BASE}/")
    if modifier:
        return modifier in named.split("/") and (named == asked or named.split("/")[-1] == asked)
    return bool(named) and asked in (named, *([named.split("/")[1]] if named.count("/") == 1 else []))


def _stretch(value: Any) -> Range | None:
    if isinstance(value, str):
        return stretch(value)
    start, end = stretch(value.get("start", "")), stretch(value.get("end", ""))
    return (start[0] if start else EVER[0], end[1] if end else EVER[1]) if start or end else None


def _date(value: Any, _: str, asked: str) -> bool:
    prefix, text = (asked[:2], asked[2:]) if asked[:2].isalpha() else ("eq", asked)
    own, meant = _stretch(value), stretch(text)
    assert meant
    low, high = meant
    if own is None:
        return False
    within = low <= own[0] and own[1] <= high
    return {
        "eq": within,
        "ne": not within,
        "gt": own[1] > high,
        "ge": own[1] > high or within,
        "lt": own[0] < low,
        "le": own[0] < low or within,
        "sa": own[0] >= high,
        "eb": own[1] <= low,
        "ap": own[0] < high + (high - low) and own[1] > low - (high - low),
    }[prefix]


def _compared(own: Range, prefix: str, text: str, factor: Fraction) -> bool:
    value = Fraction(text)
    digits = len(text.partition(".")[2])
    half, tenth = Fraction(1, 2 * 10**digits), abs(value) / 10
    low, high = ((value - half) * factor, (value + half) * factor)
    least, most, value = (value - tenth) * factor, (value + tenth) * factor, value * factor
    within = low <= own[0] and own[1] < high
    return {
        "eq": within,
        "ne": not within,
        "gt": own[1] > value,
        "ge": own[1] >= value,
        "lt": own[0] < value,
        "le": own[0] <= value,
        "sa": own[0] > value,
        "eb": own[1] < value,
        "ap": own[0] <= most and own[1] >= least,
    }[prefix]


def _prefixed(asked: str) -> tuple[str, str]:
    return (asked[:2], asked[2:]) if asked[:2].isalpha() else ("eq", asked)


def _number(value: Any, _: str, asked: str) -> bool:
    own = _ends(value) if isinstance(value, dict) else (Fraction(str(value)), Fraction(str(value)))
    return _compared(own, *_prefixed(asked), Fraction(1))


def _ends(range_: Mapping[str, Any]) -> Range:
    low, high = range_.get("low"), range_.get("high")
    return (
        Fraction(str(low["value"])) if low else -float("inf"),
        Fraction(str(high["value"])) if high else float("inf"),
    )


def _quantity(value: Any, _: str, asked: str) -> bool:
    number, _bar, unit = asked.partition("|")
    system, _bar, code = unit.partition("|")
    factor = _factor(value.get("low") or value.get("high") or value, system, code)
    if "value" in value:
        exact, comparator = Fraction(str(value["value"])), value.get("comparator", "")
        own: Range = (
            -float("inf") if "<" in comparator else exact,
            float("inf") if ">" in comparator else exact,
        )
    else:
        own = _ends(value)
    return factor is not None and _compared(own, *_prefixed(number), factor)


def _factor(own: Mapping[str, Any], system: str, code: str) -> Fraction | None:
    """From the unit that is asked for to the resource's own; None where they are not of a kind."""
    if not code:
        return Fraction(1)
    if not system:
        meant = {code, SPELLED.get(code, code)}
        return Fraction(1) if meant & {own.get("code"), own.get("unit"), SPELLED.get(own.get("unit", ""))} else None
    ucum = own.get("code") if own.get("system") == UCUM else SPELLED.get(own.get("unit", ""))
    if system != UCUM or ucum not in UNITS or UNITS[ucum][0] != UNITS[code][0]:
        return None
    return UNITS[code][1] / UNITS[ucum][1]


MATCHES: Mapping[str, Callable[[Any, str, str], bool]] = {
    "token": _token,
    "string": _string,
    "uri": _uri,
    "reference": _reference,
    "date": _date,
    "number": _number,
    "quantity": _quantity,
}
