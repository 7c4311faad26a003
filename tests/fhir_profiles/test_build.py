"""The small pieces, whole, and that the check takes the resources made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from fhir_profiles import build
from fhir_profiles.check import check
from fhir_profiles.codes import KVNR, LOINC, PROVENANCE_AGENT
from fhir_profiles.text import Number

NOON = datetime(2024, 2, 29, 12, tzinfo=timezone(timedelta(hours=5, minutes=45)))


def test_data_types() -> None:
    assert build.coding(LOINC, "4548-4", "HbA1c", version="2.77") == {
        "system": LOINC,
        "version": "2.77",
        "code": "4548-4",
        "display": "HbA1c",
    }
    assert build.codeable(build.coding(LOINC, "4548-4"), text="HbA1c") == {
        "coding": [{"system": LOINC, "code": "4548-4"}],
        "text": "HbA1c",
    }
    assert build.codeable(text="x") == {"text": "x"}
    assert build.quantity("7.20", "%", code="%") == {
        "value": Number("7.20"),
        "unit": "%",
        "system": "http://unitsofmeasure.org",
        "code": "%",
    }
    assert build.quantity("0", "Stück", comparator="<") == {"value": 0, "comparator": "<", "unit": "Stück"}
    assert build.reference("Patient/1", "x") == {"reference": "Patient/1", "display": "x"}
    assert build.identifier(KVNR, "X110000001", use="official", kind={"text": "KVNR"}) == {
        "use": "official",
        "type": {"text": "KVNR"},
        "system": KVNR,
        "value": "X110000001",
    }
    assert build.period("2024-02-01") == {"start": "2024-02-01"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7),
        ("-7", -7),
        ("7.0", Number("7.0")),
        ("-0", Number("-0")),
        ("1e3", Number("1e3")),
        ("9" * 19, Number("9" * 19)),
    ],
)
def test_numbers(text: str, expected: int | Number) -> None:
    assert build.number(text) == expected


def test_present_keeps_nought_and_false() -> None:
    assert build.present(a=0, b=False, c=None, d="", e=[], class_={"code": "AMB"}) == {
        "a": 0,
        "b": False,
        "class": {"code": "AMB"},
    }


def test_instants_carry_their_zone() -> None:
    assert build.instant(NOON) == "2024-02-29T12:00:00.000+05:45"
    assert build.instant(NOON.astimezone(UTC)) == "2024-02-29T06:15:00.000Z"
    with pytest.raises(ValueError, match="zone"):
        build.instant(NOON.replace(tzinfo=None))


def test_provenance() -> None:
    made = build.provenance(
        targets=["Observation/1"],
        recorded=NOON,
        who=build.reference("#me", "Klinik"),
        sources=[{"display": "a file"}],
    )
    assert made == {
        "resourceType": "Provenance",
        "target": [{"reference": "Observation/1"}],
        "recorded": "2024-02-29T12:00:00.000+05:45",
        "agent": [
            {
                "type": {"coding": [{"system": PROVENANCE_AGENT, "code": "assembler"}]},
                "who": {"reference": "#me", "display": "Klinik"},
            }
        ],
        "entity": [{"role": "source", "what": {"display": "a file"}}],
    }
    assert [one.text for one in check(made)] == ["ref-1: names a contained resource that is not there"]


def test_outcome() -> None:
    made = build.outcome(check({"resourceType": "Patient", "gender": "x"}))
    assert made == {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": "error",
                "code": "code-invalid",
                "diagnostics": "is not a code of the required value set",
                "expression": ["Patient.gender"],
            }
        ],
    }
    assert check(made) == ()
    assert check(build.outcome(())) == ()
