"""Writes search_parameters.tsv from HL7's own definitions (CC0-1.0); run by hand, never by the service.

    python -m aggregator.fhir.generate EXAMPLES

EXAMPLES is the unpacked npm package hl7.fhir.r4.examples 4.0.1, whose Bundle-searchParams.json holds every search
parameter of R4 (https://hl7.org/fhir/R4/searchparameter-registry.html). Each becomes one line for each resource type
that it is of, with that part of its expression (FHIRPath, https://hl7.org/fhirpath) which is about the type:

    Observation  patient  reference  Observation.subject.where(resolve() is Patient)  Patient
    Observation  component-code-value-concept  composite  Observation.component  component-code=code $ ...

The last column has a reference's target types (none: any), or a composite's components: each the name of a parameter
that says how it is searched, and its own expression. What has none (`_text`, `_content`, `_query`) is left out.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent / "search_parameters.tsv"
_HEAD = """\
# FHIR R4 search parameters: resource type, name, type, expression, target types or components. See generate.py.
# Derived from the SearchParameter resources of FHIR 4.0.1 (https://hl7.org/fhir/R4, CC0-1.0).
"""
_ANY = 100  # a reference that may name more types than these may name any
# R4 has the components' definitions exchanged, and writes one type's name as no other.
_MENDED = {"relatesto=code $ relation=target": "relatesto=target $ relation=code"}
_OWN = re.compile(r"\(?([A-Z][A-Za-z]+)\b")

Definition = dict[str, Any]


def branches(expression: str, resource_type: str) -> Iterator[str]:
    """The alternatives of an expression that are about a type; one that names none is about every."""
    for branch in expression.split(" | "):
        named = _OWN.match(branch)
        if named is None or named[1] == resource_type:
            yield branch.strip()


def lines(definitions: Iterable[Definition]) -> Iterator[str]:
    """The lines of the table, unordered."""
    listed = [one for one in definitions if "expression" in one]
    codes = {one["url"]: one["code"] for one in listed}
    for one in listed:
        for resource_type in one["base"]:
            expression = " | ".join(branches(one["expression"], resource_type))
            yield "\t".join([resource_type, one["code"], one["type"], expression, _last(one, codes)]).rstrip("\t")


def _last(one: Definition, codes: dict[str, str]) -> str:
    if one["type"] == "composite":
        text = " $ ".join(f"{codes[part['definition']]}={part['expression']}" for part in one["component"])
        return _MENDED.get(text, text).replace("DateTime", "dateTime")
    targets = one.get("target", ())
    return " ".join(sorted(targets)) if len(targets) < _ANY else ""


def main(examples: str) -> None:
    """Write the table beside this module."""
    bundle = json.loads((Path(examples) / "Bundle-searchParams.json").read_bytes())
    found = sorted(lines(entry["resource"] for entry in bundle["entry"]))
    TABLE.write_text(_HEAD + "".join(f"{line}\n" for line in found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
