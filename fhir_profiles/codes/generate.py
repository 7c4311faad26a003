"""Writes structure.json, required.json and compartment.json from HL7's own packages (CC0-1.0).

Run by hand, never by the service:

    python -m fhir_profiles.codes.generate EXAMPLES EXPANSIONS

EXAMPLES is the unpacked npm package hl7.fhir.r4.examples 4.0.1, which holds the StructureDefinitions of R4;
EXPANSIONS is hl7.fhir.r4.expansions 4.0.1, which holds the value sets with their codes. Every StructureDefinition
becomes one line a type, without what the type inherits (https://hl7.org/fhir/R4/structuredefinition.html):

    "Coverage.class": {"kind": "nested", "base": "BackboneElement", "elements": {"value": ["string", 1, 1, null, "s"]}}

An element is [types joined by "|", least, most (0: no bound), required value set or null, marks]; of the marks "s" says
that a summary holds it, "m" that it modifies the others' meaning. A nested element is a type of its own, named by its
path. "name[x]" is a choice, "@name" an XML attribute. A value set is {system: "code code"}. compartment.json has the
types of the Patient compartment with their parameters: {"Observation": ["subject", "performer"]}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_FHIR_TYPE = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type"
_VALUE_SETS = "http://hl7.org/fhir/ValueSet/"
# The StructureDefinitions say "string" for Resource.id, the page and its regular expression say "id".
_MENDED = {"Resource.id": "id"}

Row = list[Any]
Types = dict[str, dict[str, Any]]


def _type_of(element: dict[str, Any]) -> str:
    if "contentReference" in element:
        return str(element["contentReference"]).removeprefix("#")
    if element["path"] in _MENDED:
        return _MENDED[element["path"]]
    return "|".join(_type_name(one) for one in element["type"])


def _type_name(one: dict[str, Any]) -> str:
    real = [extension["valueUrl"] for extension in one.get("extension", ()) if extension["url"] == _FHIR_TYPE]
    return str(real[0] if real else one["code"])


def _value_set(element: dict[str, Any]) -> str | None:
    binding = element.get("binding", {})
    if binding.get("strength") != "required":
        return None
    return str(binding["valueSet"]).split("|")[0].removeprefix(_VALUE_SETS)


def _row(element: dict[str, Any], nested: bool) -> Row:
    most = 0 if element["max"] == "*" else int(element["max"])
    types = element["path"] if nested else _type_of(element)
    return [types, element["min"], most, _value_set(element), _marks(element)]


def _marks(element: dict[str, Any]) -> str:
    return "s" * bool(element.get("isSummary")) + "m" * bool(element.get("isModifier"))


def types_of(definition: dict[str, Any]) -> Types:
    """The type that a StructureDefinition defines, and one for each of its nested elements."""
    name = definition["type"]
    elements = definition["snapshot"]["element"][1:]
    parents = {element["path"].rpartition(".")[0] for element in elements}
    base = definition.get("baseDefinition", "").rpartition("/")[2]
    made: Types = {name: {"kind": definition["kind"], "base": base, "elements": {}}}
    for element in elements:
        path = element["path"]
        if path in parents:
            made[path] = {"kind": "nested", "base": _type_of(element), "elements": {}}
        if element["base"]["path"].split(".")[0] != name:
            continue  # inherited
        parent, _, own = path.rpartition(".")
        mark = "@" if "xmlAttr" in element.get("representation", ()) else ""
        made[parent]["elements"][mark + own] = _row(element, path in parents)
    return made


def codes_of(value_set: dict[str, Any]) -> dict[str, str]:
    """The codes of an expansion by system."""
    found: dict[str, list[str]] = {}
    for entry in value_set.get("expansion", {}).get("contains", ()):
        found.setdefault(entry["system"], []).append(entry["code"])
    return {system: " ".join(sorted(codes)) for system, codes in sorted(found.items())}


def _read(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_bytes())
    return read


def structure(package: Path) -> Types:
    """Every type of R4 by name: data types, resources, nested elements."""
    made: Types = {}
    for path in sorted(package.glob("StructureDefinition-*.json")):
        definition = _read(path)
        if definition.get("derivation") != "constraint" and definition["kind"] != "logical":
            made |= types_of(definition)
    return made


def required(package: Path, types: Types) -> dict[str, dict[str, str]]:
    """The codes of every value set that a required binding names; empty ones (mimetypes, LOINC answers) stay open."""
    names = {row[3] for made in types.values() for row in made["elements"].values() if row[3]}
    sets = [_read(path) for path in sorted(package.glob("ValueSet-*.json"))]
    by_name = {one["url"].removeprefix(_VALUE_SETS): codes_of(one) for one in sets}
    # A list cut at 1,000 codes is no list: UCUM is a grammar.
    return {name: by_name.get(name, {}) if name != "ucum-units" else {} for name in sorted(names)}


def compartment(package: Path) -> dict[str, list[str]]:
    """The types of the Patient compartment, each with the parameters that put a resource into it."""
    definition = _read(package / "CompartmentDefinition-patient.json")
    return {row["code"]: row["param"] for row in definition["resource"] if "param" in row}


def _write(path: Path, value: dict[str, Any]) -> None:
    lines = (f"{json.dumps(key)}: {json.dumps(value[key], separators=(',', ':'))}" for key in sorted(value))
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main(examples: str, expansions: str) -> None:
    """Write the files beside this module."""
    types = structure(Path(examples))
    _write(HERE / "structure.json", types)
    _write(HERE / "required.json", required(Path(expansions), types))
    _write(HERE / "compartment.json", compartment(Path(examples)))


if __name__ == "__main__":
    main(*sys.argv[1:])
