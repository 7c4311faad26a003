"""HL7's examples of R4 (npm: hl7.fhir.r4.examples 4.0.1), which of them are taken, and why the others are not.

Some of them lie in ../shared/data, and of these every third is tried. AGGREGATOR_EXAMPLES names a folder with the whole
package, unpacked, and all of it is tried: half an hour.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fhir_profiles.attachments import attachments
from fhir_profiles.text import Resource, dumps, loads

_DATA = Path(os.environ.get("AGGREGATOR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
FOLDER = Path(
    os.environ.get("AGGREGATOR_EXAMPLES") or _DATA / "fhir-r4-official-examples" / "npm-hl7.fhir.r4.examples-4.0.1"
)

EVERY = 1 if "AGGREGATOR_EXAMPLES" in os.environ else 3
_NOT_EXAMPLES = frozenset({"package.json", ".index.json"})  # npm's own

INVALID: Mapping[str, tuple[str, ...]] = {
    "narrative without any text (txt-1)": (
        "ActivityDefinition-blood-tubes-supply",
        "ActivityDefinition-heart-valve-replacement",
        "EventDefinition-example",
        "Questionnaire-zika-virus-exposure-assessment",
    ),
    "narrative longer than the 1 MiB that a string may have": ("CodeSystem-dicom-dcim", "ValueSet-c80-doc-typecodes"),
    "a full URL twice (bdl-7)": ("Bundle-dataelements",),
    "codes with a blank at the end": ("Bundle-v2-valuesets", "CodeSystem-v2-0550"),
    "required: ImplementationGuide.name and .status": ("ImplementationGuide-fhir", "ig-r4"),
    "required: Questionnaire.item.linkId": ("Questionnaire-qs1",),
    "required: SearchParameter.base": (
        "SearchParameter-codesystem-extensions-CodeSystem-author",
        "SearchParameter-codesystem-extensions-CodeSystem-effective",
        "SearchParameter-codesystem-extensions-CodeSystem-end",
        "SearchParameter-codesystem-extensions-CodeSystem-keyword",
        "SearchParameter-codesystem-extensions-CodeSystem-workflow",
        "SearchParameter-valueset-extensions-ValueSet-author",
        "SearchParameter-valueset-extensions-ValueSet-effective",
        "SearchParameter-valueset-extensions-ValueSet-end",
        "SearchParameter-valueset-extensions-ValueSet-keyword",
        "SearchParameter-valueset-extensions-ValueSet-workflow",
    ),
    "id longer than 64 characters": (
        "SearchParameter-questionnaireresponse-extensions-QuestionnaireResponse-item-subject",
    ),
}
"""Why it is not R4 -> the examples of which that is true."""

NOT_TAKEN: Mapping[str, tuple[str, ...]] = {
    "a question or an answer of a server, not part of a record": (
        "CapabilityStatement-",
        "OperationOutcome-",
        "Parameters-",
    ),
    "no family name, given name or date of birth: a record's one Patient says who it is": (
        "Patient-animal",
        "Patient-ch-example",
        "Patient-dicom",
        "Patient-ihe-pcd",
        "Patient-infant-fetal",
        "Patient-newborn",
        "Patient-pat1",
        "Patient-pat2",
        "Patient-proband",
    ),
}
"""Why a valid resource is not taken -> the beginnings of the examples' names."""

BY_A_SOURCE = ("AuditEvent", "Consent", "Provenance")
"""Types that an owner does not write: what a source says in them is a document like any other."""


def examples() -> Iterator[tuple[str, Resource]]:
    """(name, resource) of all that is here, whatever it is."""
    for path in sorted(FOLDER.glob("*.json")):
        if path.name not in _NOT_EXAMPLES:
            yield path.stem, loads(path.read_bytes())


def taken() -> Iterator[tuple[str, Resource]]:
    """Those that make the round trip."""
    invalid = {name for names in INVALID.values() for name in names}
    refused = tuple(beginning for beginnings in NOT_TAKEN.values() for beginning in beginnings)
    return ((name, one) for name, one in examples() if name not in invalid and not name.startswith(refused))


def content(resource: Resource) -> Resource:
    """Without what the service says itself: the id, and in meta the version, its time and whose it is.

    Without the blanks in base64, too: long data is kept as the bytes that it means.
    """
    meta = {name: one for name, one in resource.get("meta", {}).items() if name not in _OURS}
    kept = {name: one for name, one in resource.items() if name not in ("id", "meta")}
    made: Resource = loads(dumps(kept | ({"meta": meta} if meta else {})))
    for one in (*attachments(made), *([made] if made["resourceType"] == "Binary" else [])):
        if "data" in one:
            one["data"] = "".join(one["data"].split())
    return made


_OURS = ("versionId", "lastUpdated", "source")


def without_narrative(value: Any) -> Any:
    """XML writes a narrative's white space and quotes its own way; all else must come back as it was."""
    if isinstance(value, dict):
        return {name: without_narrative(one) for name, one in value.items() if name != "div"}
    return [without_narrative(one) for one in value] if isinstance(value, list) else value


def chunks(named: Iterable[tuple[str, Resource]], most: int) -> Iterator[list[tuple[str, Resource]]]:
    """So many together; a Patient alone: a record has one."""
    chunk = list[tuple[str, Resource]]()
    for name, resource in named:
        alone = resource["resourceType"] == "Patient"
        if chunk and (alone or len(chunk) == most or chunk[-1][1]["resourceType"] == "Patient"):
            yield chunk
            chunk = []
        chunk.append((name, resource))
    if chunk:
        yield chunk
