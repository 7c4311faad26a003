"""A directory of providers and payers, as the operator got it from somebody: FHIR Organizations, Practitioners, Roles.

A Bundle or NDJSON (https://hl7.org/fhir/R4/practitionerrole.html). Who stands in it can be named in a Consent by an
identifier (Telematik-ID, IK, LANR, BSNR) and is shown with name and role; nobody signs in because of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aggregator.consent.decide import PartyKind
from aggregator.consent.section_table import Coding
from aggregator.errors import OperatorError
from fhir_profiles.text import Resource, loads

_PAYERS = frozenset(("http://terminology.hl7.org/CodeSystem/organization-type", code) for code in ("pay", "ins"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Somebody who can be named. id: as in the file, "Practitioner/12". role: in the file's own words."""

    id: str
    name: str
    role: str
    kind: PartyKind
    identifiers: frozenset[Coding]


def read(files: Iterable[Path]) -> dict[str, Entry]:
    """Id -> entry, of all files. Raises OperatorError for what cannot be read, or has no name or no identifier."""
    found: dict[str, Entry] = {}
    for at, file in enumerate(files):
        place = f"parties.directory_files.{at}: {file}"
        for entry in _entries(_resources(file, place), place):
            if entry.id in found:
                raise OperatorError(f"{place}: {entry.id} is there twice; each entry needs an id of its own")
            found[entry.id] = entry
    return found


def _resources(file: Path, place: str) -> dict[str, Resource]:
    """All that may be referred to, by each of the ways to: its type and id, and where it has one its full URL."""
    found: dict[str, Resource] = {}
    try:
        text = file.read_bytes()
        lines = [line for line in text.splitlines() if line.strip()] if file.suffix == ".ndjson" else [text]
        for one in map(loads, lines):
            for entry in one["entry"] if one["resourceType"] == "Bundle" else [{"resource": one}]:
                resource = entry["resource"]
                found[entry.get("fullUrl", "")] = found[_reference(resource)] = resource
    except FileNotFoundError:
        raise OperatorError(f"{place} is not there; put the directory's Bundle or NDJSON there") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise OperatorError(f"{place} is no FHIR Bundle and no NDJSON of resources with ids") from None
    return found


def _reference(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _entries(resources: Mapping[str, Resource], place: str) -> Iterator[Entry]:
    """Whoever is not marked as inactive."""
    roles: dict[str, list[Resource]] = defaultdict(list)
    own = {name: one for name, one in resources.items() if name == _reference(one) and one.get("active") is not False}
    for name, one in own.items():
        try:
            if one["resourceType"] == "PractitionerRole":
                roles[_reference(resources[one["practitioner"]["reference"]])].append(one)
        except (LookupError, TypeError):
            raise OperatorError(f"{place}: {name} has no practitioner in this file") from None
    for name, one in own.items():
        try:
            if one["resourceType"] in _NAMES:
                yield _entry(name, one, roles[name], resources)
        except (LookupError, TypeError, AttributeError):
            raise OperatorError(f"{place}: {name} has no name, or no identifier with system and value") from None


def _entry(name: str, one: Resource, roles: Sequence[Resource], resources: Mapping[str, Resource]) -> Entry:
    codings = [coding for concept in one.get("type", []) for coding in concept.get("coding", [])]
    payer = any((coding.get("system"), coding.get("code")) in _PAYERS for coding in codings)
    identifiers = frozenset((str(each["system"]), str(each["value"])) for each in one["identifier"])
    if not identifiers:
        raise LookupError
    return Entry(
        id=name,
        name=_NAMES[one["resourceType"]](one),
        role="; ".join(filter(None, [_words(one.get("type", [])), *(_role(role, resources) for role in roles)])),
        kind=PartyKind.PAYER if payer else PartyKind.PROVIDER,
        identifiers=identifiers,
    )


def _role(role: Resource, resources: Mapping[str, Resource]) -> str:
    """What somebody is, and where: "Fachärztin für Allgemeinmedizin, Praxis Dr. Brandt"."""
    said = role.get("organization", {})
    organization = resources.get(said.get("reference", ""), {}).get("name") or said.get("display", "")
    return ", ".join(filter(None, [_words(role.get("specialty") or role.get("code") or []), organization]))


def _words(concepts: Sequence[Resource]) -> str:
    found = [
        one.get("text") or next((code["display"] for code in one.get("coding", []) if "display" in code), "")
        for one in concepts
    ]
    return ", ".join(filter(None, found))


def _human_name(practitioner: Resource) -> str:
    name = practitioner["name"][0]
    return str(name.get("text") or " ".join([*name.get("prefix", []), *name.get("given", []), name["family"]]))


_NAMES: Mapping[str, Callable[[Resource], str]] = {
    "Organization": lambda one: str(one["name"]),
    "Practitioner": _human_name,
}
"""Who can be named -> what it is called."""
