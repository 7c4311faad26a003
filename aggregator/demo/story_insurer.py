"""A person's account at the statutory insurer: coverage and statements of benefits as FHIR, amounts in EUR.

Shaped after CARIN Blue Button (https://hl7.org/fhir/us/carin-bb/) without its US codes. Adjudication has gaps, as real
claims have: a line whose amount is missing was never decided. A line reads `code | text | submitted | benefit | copay`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from itertools import chain
from typing import Any

from aggregator.demo.story_fhir import concept, diagnosis, labelled, organization, patient, ref, status, transaction
from aggregator.demo.story_people import Person, facts
from fhir_profiles.build import Part, codeable, coding, identifier, number
from fhir_profiles.codes import ADJUDICATION, INSURANCE_KIND_DE, KVNR
from fhir_profiles.text import Resource

Row = Mapping[str, Any]

_SERVICE = "https://nordlicht-kasse.example/fhir/CodeSystem/leistung"
_CLAIM_NUMBER = "https://nordlicht-kasse.example/fhir/sid/abrechnung"
_AMOUNTS = ("submitted", "benefit", "copay")


def insurer_bundle(person: Person) -> Resource:
    """All that the insurer holds of a person: PUT entries with fixed ids and relative references."""
    account = facts(person.id, "insurer")
    claims = [_benefit(person, row) for row in account["claim"]]
    used = dict.fromkeys(chain(["nordlicht"], (row["provider"] for row in account["claim"])))
    paid_to = [organization(name, facts("insurer")[name]) for name in used]
    covered = [_coverage(person, row) for row in account["coverage"]]
    return transaction([*paid_to, patient(person, person.insurer_id), *covered, *claims])


def _coverage(person: Person, row: Row) -> Resource:
    until = {"end": row["until"]} if "until" in row else {}
    return {
        "resourceType": "Coverage",
        "id": f"{person.insurer_id}-{row['id']}",
        "identifier": [identifier(KVNR, person.kvnr)],
        "status": "cancelled" if until else "active",
        "type": concept(INSURANCE_KIND_DE, "GKV", "gesetzliche Krankenversicherung"),
        "subscriber": ref("Patient", person.insurer_id),
        "beneficiary": ref("Patient", person.insurer_id),
        "relationship": status("subscriber-relationship", "self"),
        "period": {"start": row["since"], **until},
        "payor": [ref("Organization", "nordlicht")],
        "class": [{"type": status("coverage-class", "plan"), "value": row["plan"], "name": row["name"]}],
    }


def _benefit(person: Person, row: Row) -> Resource:
    items = [_item(row["on"], sequence, line) for sequence, line in enumerate(row["items"], start=1)]
    name = f"{person.insurer_id}-{row['on'].replace('-', '')}-{row['type']}"
    return {
        "resourceType": "ExplanationOfBenefit",
        "id": name,
        **labelled(row.get("security", "")),
        "identifier": [identifier(_CLAIM_NUMBER, name)],
        "status": "active",
        "type": status("claim-type", row["type"]),
        "use": "claim",
        "patient": ref("Patient", person.insurer_id),
        "billablePeriod": {"start": row["on"], "end": row.get("until", row["on"])},
        "created": row["billed"],
        "insurer": ref("Organization", "nordlicht"),
        "provider": ref("Organization", row["provider"]),
        "outcome": row["outcome"],
        **_diagnoses(row),
        "insurance": [{"focal": True, "coverage": ref("Coverage", _covering(person, row["on"]))}],
        "item": items,
        "total": _totals(row["items"]),
    }


def _diagnoses(row: Row) -> Part:
    year = date.fromisoformat(row["on"]).year
    coded = [
        {"sequence": sequence, "diagnosisCodeableConcept": diagnosis(code, year)}
        for sequence, code in enumerate(row["icd"], start=1)
    ]
    return {"diagnosis": coded} if coded else {}


def _covering(person: Person, on: str) -> str:
    """The coverage in force on that day. ISO dates compare as text."""
    rows = facts(person.id, "insurer")["coverage"]
    (found,) = [row["id"] for row in rows if row["since"] <= on <= row.get("until", "9999")]
    return f"{person.insurer_id}-{found}"


def _item(on: str, sequence: int, line: str) -> Part:
    code, text, *amounts = (field.strip() for field in line.split("|"))
    decided = [_amount(kind, amount) for kind, amount in zip(_AMOUNTS, amounts, strict=False) if amount]
    return {
        "sequence": sequence,
        "productOrService": concept(_SERVICE, code, text),
        "servicedDate": on,
        **({"adjudication": decided} if decided else {}),
    }


def _totals(lines: list[str]) -> list[Part]:
    columns: dict[str, list[Decimal]] = {kind: [] for kind in _AMOUNTS}
    for line in lines:
        for kind, amount in zip(_AMOUNTS, line.split("|")[2:], strict=False):
            columns[kind] += [Decimal(amount.strip())] if amount.strip() else []
    return [_amount(kind, str(sum(column, Decimal("0.00")))) for kind, column in columns.items() if column]


def _amount(kind: str, amount: str) -> Part:
    return {"category": codeable(coding(ADJUDICATION, kind)), "amount": {"value": number(amount), "currency": "EUR"}}
