"""Small pieces of FHIR R4, so that whoever maps a source writes what it means and not how JSON nests it.

https://hl7.org/fhir/R4/datatypes.html. Everything returned is a fresh `Resource` part; what is None or empty is left
out, because FHIR knows no empty elements. Nothing is checked here: `check.py` does, on the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from fhir_profiles.codes import PROVENANCE_AGENT, UCUM
from fhir_profiles.text import Number, Resource
from fhir_profiles.walk import Issue

Part = dict[str, Any]


def present(**members: Any) -> Part:
    """The members that hold something. 0 and False do. A trailing "_" is dropped: class_ is "class"."""
    return {name.rstrip("_"): value for name, value in members.items() if value not in (None, "", [], {}, ())}


def coding(system: str, code: str, display: str = "", *, version: str = "") -> Part:
    """A Coding."""
    return present(system=system, version=version, code=code, display=display)


def codeable(*codings: Part, text: str = "") -> Part:
    """A CodeableConcept."""
    return present(coding=list(codings), text=text)


def number(text: str) -> int | Number:
    """A decimal as `text.loads` gives it: "7.20" keeps its digits. The text is JSON's form, with a point."""
    plain = text.removeprefix("-")
    return int(text) if plain.isdigit() and text != "-0" and len(text) <= 18 else Number(text)


def quantity(value: str, unit: str = "", *, code: str = "", comparator: str = "") -> Part:
    """A Quantity. value: the decimal's text. code: its UCUM code; without one, unit is only read by people."""
    system = UCUM if code else ""
    return present(value=number(value), comparator=comparator, unit=unit, system=system, code=code)


def reference(target: str, display: str = "") -> Part:
    """A Reference: "Type/id", a URL or "#id"."""
    return present(reference=target, display=display)


def identifier(system: str, value: str, *, use: str = "", kind: Part | None = None) -> Part:
    """An Identifier. kind: a CodeableConcept, FHIR's `type`."""
    return present(use=use, type=kind, system=system, value=value)


def period(start: str = "", end: str = "") -> Part:
    """A Period of two dateTimes."""
    return present(start=start, end=end)


def instant(moment: datetime) -> str:
    """A moment as FHIR writes it: with its zone, to the millisecond. Raises ValueError for a naive datetime."""
    if moment.tzinfo is None:
        raise ValueError("an instant has a zone")
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def provenance(
    *, targets: Sequence[str], recorded: datetime, who: Part, role: str = "assembler", sources: Sequence[Part] = ()
) -> Resource:
    """A Provenance: these targets were recorded then by `who` (a Reference) from `sources` (References)."""
    return present(
        resourceType="Provenance",
        target=[reference(target) for target in targets],
        recorded=instant(recorded),
        agent=[{"type": codeable(coding(PROVENANCE_AGENT, role)), "who": who}],
        entity=[{"role": "source", "what": source} for source in sources],
    )


def outcome(issues: Iterable[Issue]) -> Resource:
    """An OperationOutcome of what `check` found. Without an issue it says so, because it may not be empty."""
    told = [
        present(severity=one.severity, code=one.code, diagnostics=one.text, expression=[one.expression])
        for one in issues
    ]
    return {"resourceType": "OperationOutcome", "issue": told or [{"severity": "information", "code": "informational"}]}
