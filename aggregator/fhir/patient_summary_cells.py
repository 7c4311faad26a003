"""What a person reads of a resource: the text of one cell of a summary's tables.

Nothing is worked out here: a text is what the resource says, numbers as they were written. What it does not say is an
empty cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fhir_profiles.text import Number, Resource, dumps

Resolve = Callable[[str], Resource | None]
"""A reference -> the resource, where the view holds it."""

Node = Mapping[str, Any]

_DATES = (
    "effectiveDateTime",
    "effectiveInstant",
    "effectivePeriod",
    "onsetDateTime",
    "onsetPeriod",
    "occurrenceDateTime",
    "performedDateTime",
    "performedPeriod",
    "timingDateTime",
    "timingPeriod",
    "period",
    "authoredOn",
    "recordedDate",
    "recordedOn",
    "dateAsserted",
    "issued",
)
"""Where a resource says when it was, the clinical date before that of the record."""


_WORDS = {
    "active": "aktiv / active",
    "inactive": "nicht aktiv / inactive",
    "recurrence": "wiedergekehrt / recurrence",
    "relapse": "Rückfall / relapse",
    "remission": "Remission / remission",
    "resolved": "behoben / resolved",
    "unconfirmed": "unbestätigt / unconfirmed",
    "provisional": "vorläufig / provisional",
    "differential": "Differenzialdiagnose / differential",
    "confirmed": "bestätigt / confirmed",
    "low": "gering / low",
    "high": "hoch / high",
    "unable-to-assess": "nicht einzuschätzen / unable to assess",
}
"""FHIR's own codes of a status or a criticality, for people."""


def concept(value: Any) -> str:
    """A CodeableConcept: its own words, else the name of its first coding, else that code."""
    if not isinstance(value, dict):
        return ""
    codings = value.get("coding", ())
    names = [value.get("text"), *(one.get("display") for one in codings), *(one.get("code") for one in codings)]
    return next((name for name in names if name), "")


def concepts(values: Iterable[Any]) -> str:
    return ", ".join(filter(None, map(concept, values)))


def when(resource: Node) -> str:
    """The day, month or year of a resource, as far as it says one: FHIR's own form, which reads in every language."""
    told = next((value for name in _DATES if (value := resource.get(name))), "")
    if isinstance(told, dict):
        told = told.get("start") or told.get("end") or ""
    return str(told)[:10]


def code(resource: Resource, _: Resolve) -> str:
    return concept(resource.get("code"))


def date(resource: Resource, _: Resolve) -> str:
    return when(resource)


def clinical_status(resource: Resource, _: Resolve) -> str:
    told = (resource.get(name, {}) for name in ("clinicalStatus", "verificationStatus"))
    codes = [coding.get("code", "") for one in told for coding in one.get("coding", ())]
    return ", ".join(_WORDS.get(code, code) for code in codes)


def criticality(resource: Resource, _: Resolve) -> str:
    told = str(resource.get("criticality", ""))
    return _WORDS.get(told, told)


def reactions(resource: Resource, _: Resolve) -> str:
    return concepts(one for reaction in resource.get("reaction", ()) for one in reaction.get("manifestation", ()))


def vaccine(resource: Resource, _: Resolve) -> str:
    return concept(resource.get("vaccineCode"))


def medication(resource: Resource, resolve: Resolve) -> str:
    """In the resource, contained in it, or another one of the record."""
    if named := concept(resource.get("medicationCodeableConcept")):
        return named
    return _referred(resource, "medicationReference", "code", resolve)


def device(resource: Resource, resolve: Resolve) -> str:
    return _referred(resource, "device", "type", resolve)


def dosage(resource: Resource, _: Resolve) -> str:
    """As it is written for people; the structure of a timing is not put into words."""
    told = resource.get("dosage") or resource.get("dosageInstruction") or ()
    return "; ".join(filter(None, (one.get("text") or _amount(one) for one in told)))


def title(resource: Resource, _: Resolve) -> str:
    return str(resource.get("title") or resource.get("description") or concepts(resource.get("category", ())))


def interpretation(resource: Resource, _: Resolve) -> str:
    return concepts(resource.get("interpretation", ()))


def result(resource: Resource, _: Resolve) -> str:
    """A value, those of its components, or a report's conclusion."""
    own = [_value(resource), *(_component(one) for one in resource.get("component", ()))]
    return "; ".join(filter(None, own)) or str(resource.get("conclusion", ""))


def _component(one: Node) -> str:
    told = _value(one)
    return f"{concept(one.get('code'))}: {told}" if told else ""


def _value(node: Node) -> str:
    kind = next((name for name in node if name.startswith("value")), None)
    if kind is None:
        return concept(node.get("dataAbsentReason"))
    value = node[kind]
    return _VALUES[kind](value) if kind in _VALUES else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "ja / yes" if value else "nein / no"
    if isinstance(value, str):
        return value
    return dumps(value).decode() if isinstance(value, Number | int | float) else ""


def _quantity(value: Any) -> str:
    if not isinstance(value, dict) or "value" not in value:
        return ""
    parts = [value.get("comparator"), _plain(value["value"]), value.get("unit") or value.get("code")]
    return " ".join(filter(None, parts))


def _between(low: str, high: str, sign: str) -> Callable[[Any], str]:
    def text(value: Any) -> str:
        return f" {sign} ".join(filter(None, (_quantity(value.get(low)), _quantity(value.get(high)))))

    return text


_VALUES: Mapping[str, Callable[[Any], str]] = {
    "valueQuantity": _quantity,
    "valueCodeableConcept": concept,
    "valueRange": _between("low", "high", "–"),
    "valueRatio": _between("numerator", "denominator", "/"),
    "valuePeriod": lambda value: f"{value.get('start', '')} – {value.get('end', '')}",
}


def _amount(dose: Node) -> str:
    amounts = [_quantity(one.get("doseQuantity")) for one in dose.get("doseAndRate", ())]
    timing = concept(dose.get("timing", {}).get("code"))
    return ", ".join(filter(None, [*amounts, timing]))


def _referred(resource: Resource, element: str, names: str, resolve: Resolve) -> str:
    reference = resource.get(element, {})
    target = reference.get("reference", "")
    contained = {f"#{one.get('id')}": one for one in resource.get("contained", ())}
    found = contained.get(target) or resolve(target)
    return (concept(found.get(names)) if found else "") or str(reference.get("display", ""))
