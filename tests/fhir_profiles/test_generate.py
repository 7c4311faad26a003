"""The script that compiles R4's tables, on a type of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fhir_profiles.codes import generate

EXPECTED = {
    "Thing": {
        "kind": "resource",
        "base": "DomainResource",
        "elements": {
            "state": ["code", 1, 1, "state", "sm"],
            "value[x]": ["string|Quantity", 0, 1, None, ""],
            "part": ["Thing.part", 0, 0, None, ""],
        },
    },
    "Thing.part": {
        "kind": "nested",
        "base": "BackboneElement",
        "elements": {"@url": ["uri", 1, 1, None, "s"], "part": ["Thing.part", 0, 0, None, ""]},
    },
}


def element(path: str, *types: str, card: tuple[int, str] = (0, "1"), base: str = "", **more: Any) -> dict[str, Any]:
    kinds = [{"code": one} for one in types]
    return {"path": path, "min": card[0], "max": card[1], "base": {"path": base or path}, "type": kinds, **more}


def thing() -> dict[str, Any]:
    state = {"strength": "required", "valueSet": "http://hl7.org/fhir/ValueSet/state|4.0.1"}
    fhir_type = {"url": "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type", "valueUrl": "uri"}
    url = element("Thing.part.url", card=(1, "1"), representation=["xmlAttr"], isSummary=True)
    url["type"] = [{"extension": [fhir_type], "code": "http://hl7.org/fhirpath/System.String"}]
    again = element("Thing.part.part", card=(0, "*"), contentReference="#Thing.part")
    del again["type"]
    return {
        "kind": "resource",
        "type": "Thing",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/DomainResource",
        "derivation": "specialization",
        "snapshot": {
            "element": [
                element("Thing"),
                element("Thing.id", "id", base="Resource.id"),
                element("Thing.state", "code", card=(1, "1"), binding=state, isSummary=True, isModifier=True),
                element("Thing.value[x]", "string", "Quantity"),
                element("Thing.part", "BackboneElement", card=(0, "*")),
                element("Thing.part.id", "string", base="Element.id"),
                url,
                again,
            ]
        },
    }


def value_set() -> dict[str, Any]:
    codes = [{"system": "http://e/state", "code": code} for code in ("on", "off")]
    return {"url": "http://hl7.org/fhir/ValueSet/state", "expansion": {"contains": codes}}


def test_a_type_and_its_codes(tmp_path: Path) -> None:
    (tmp_path / "StructureDefinition-Thing.json").write_text(json.dumps(thing()))
    (tmp_path / "StructureDefinition-profile.json").write_text(json.dumps({**thing(), "derivation": "constraint"}))
    (tmp_path / "ValueSet-state.json").write_text(json.dumps(value_set()))
    types = generate.structure(tmp_path)
    assert types == EXPECTED
    assert generate.required(tmp_path, types) == {"state": {"http://e/state": "off on"}}


def test_the_compartment_names_types_with_parameters_alone(tmp_path: Path) -> None:
    rows = [{"code": "Thing", "param": ["subject", "author"]}, {"code": "Other"}]
    (tmp_path / "CompartmentDefinition-patient.json").write_text(json.dumps({"resource": rows}))
    assert generate.compartment(tmp_path) == {"Thing": ["subject", "author"]}
