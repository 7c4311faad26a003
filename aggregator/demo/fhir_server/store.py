"""Resources in memory: every version, and the indexes that searches need.

https://hl7.org/fhir/R4/http.html#versions. A version's body is printed once, when it is written; answers splice it in.
Writes are numbered; dictionaries are kept in that order, so a listing is sorted as it lies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aggregator.demo.fhir_server.compartment import patients_of
from fhir_profiles.text import Resource, dumps

Identifiers = frozenset[tuple[str, str]]
"""(system, value); system is "" where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a resource.

    number: meta.versionId. sequence: its place among all writes of the server. updated: meta.lastUpdated, aware.
    patients: whose it is; for a deletion, whose it was. body: compact JSON in UTF-8; None when this is a deletion.
    """

    resource_type: str
    id: str
    number: int
    sequence: int
    updated: datetime
    method: str
    patients: frozenset[str] = frozenset()
    identifiers: Identifiers = frozenset()
    body: bytes | None = None

    @property
    def path(self) -> str:
        """The relative reference: type, slash, id."""
        return f"{self.resource_type}/{self.id}"

    @property
    def etag(self) -> str:
        """The weak entity tag of https://hl7.org/fhir/R4/http.html#versioning."""
        return f'W/"{self.number}"'


Rows = dict[str, Version]


class Store:
    """Current versions by type, by patient and by identifier; all versions by type and by id. Not thread-safe."""

    def __init__(self) -> None:
        self._sequence = 0
        self._current: dict[str, Rows] = defaultdict(dict)
        self._of_patient: dict[tuple[str, str], Rows] = defaultdict(dict)
        self._identified: dict[tuple[str, str], Rows] = defaultdict(dict)
        self._versions: dict[str, list[Version]] = defaultdict(list)
        self._versions_of: dict[str, list[Version]] = defaultdict(list)

    @property
    def types(self) -> frozenset[str]:
        """The types that were ever written."""
        return frozenset(self._versions)

    def get(self, resource_type: str, resource_id: str) -> Version | None:
        """The last version, a deletion too; None when it never was."""
        versions = self.versions_of(resource_type, resource_id)
        return versions[-1] if versions else None

    def versions_of(self, resource_type: str, resource_id: str) -> list[Version]:
        """All versions of one resource, oldest first."""
        return self._versions_of.get(f"{resource_type}/{resource_id}", [])

    def versions(self, resource_type: str) -> list[Version]:
        """All versions of all resources of a type, oldest first."""
        return self._versions.get(resource_type, [])

    def current(self, resource_type: str, patient: str | None = None) -> Iterable[Version]:
        """What there is of a type, of one patient or of all, in the order it was last written."""
        rows = self._current.get(resource_type) if patient is None else self._of_patient.get((resource_type, patient))
        return (rows or {}).values()

    def identified(self, resource_type: str, value: str) -> Iterable[Version]:
        """What carries an Identifier with this value, in whatever system."""
        return self._identified.get((resource_type, value), {}).values()

    def put(self, resource: Resource, resource_id: str, method: str, at: datetime) -> Version:
        """Write a new version of a resource, as it is but for id and meta."""
        resource_type = resource["resourceType"]
        number = len(self.versions_of(resource_type, resource_id)) + 1
        stamped = _stamped(resource, resource_id, number, at)
        return self._add(
            Version(
                resource_type=resource_type,
                id=resource_id,
                number=number,
                sequence=self._sequence + 1,
                updated=at,
                method=method,
                patients=patients_of(stamped),
                identifiers=_identifiers(stamped),
                body=dumps(stamped),
            )
        )

    def delete(self, resource_type: str, resource_id: str, at: datetime) -> Version | None:
        """Write a deletion. None, and nothing done, when there is nothing to delete."""
        last = self.get(resource_type, resource_id)
        if last is None or last.body is None:
            return None
        return self._add(
            Version(
                resource_type=resource_type,
                id=resource_id,
                number=last.number + 1,
                sequence=self._sequence + 1,
                updated=at,
                method="DELETE",
                patients=last.patients,
            )
        )

    def _add(self, version: Version) -> Version:
        self._sequence = version.sequence
        if (last := self.get(version.resource_type, version.id)) is not None:
            for rows in self._rows_of(last):
                rows.pop(version.id, None)
        if version.body is not None:
            for rows in self._rows_of(version):
                rows[version.id] = version
        self._versions[version.resource_type].append(version)
        self._versions_of[version.path].append(version)
        return version

    def _rows_of(self, version: Version) -> list[Rows]:
        kind = version.resource_type
        return [
            self._current[kind],
            *(self._of_patient[kind, patient] for patient in version.patients),
            *(self._identified[kind, value] for _, value in version.identifiers),
        ]


def _stamped(resource: Resource, resource_id: str, number: int, at: datetime) -> Resource:
    meta = {
        **resource.get("meta", {}),
        "versionId": str(number),
        "lastUpdated": at.isoformat(timespec="milliseconds"),
    }
    rest = {name: value for name, value in resource.items() if name not in ("resourceType", "id", "meta")}
    return {"resourceType": resource["resourceType"], "id": resource_id, "meta": meta, **rest}


def _identifiers(resource: Resource) -> Identifiers:
    given = resource.get("identifier")
    listed: list[Any] = given if isinstance(given, list) else [given]
    found = ((one.get("system", ""), one.get("value")) for one in listed if isinstance(one, dict))
    return frozenset((system, value) for system, value in found if isinstance(system, str) and isinstance(value, str))
