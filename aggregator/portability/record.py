"""From an export's lines back to the state of a vault, as sound as an envelope must be (FORMAT-EXPORT.md section 5)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from aggregator.errors import CallerError
from aggregator.identity import patient
from aggregator.identity.accounts import PATIENT_SOURCE
from aggregator.portability.manifest import WRONG, Export, Manifest, parsed, refused, require_section
from aggregator.vault.blob import Blob
from aggregator.vault.envelope import Put, Remove, read_members, refuse_unsound
from aggregator.vault.fold import Left, State, Version
from aggregator.vault.keys import IMPORTED, OWNER, IdKey
from aggregator.vault.view import IDENTITY
from fhir_profiles.text import loads

LOCAL = re.compile(r"[a-z2-7]{26}")
_SOURCE = re.compile(r"[0-9a-f]{32}")
_RESOURCE = b',"resource":'

_MOVED = ""
"""Stands for a section where a version is in none any more."""

Attached = dict[str, list[tuple[str, str, int]]]
"""Path of an attachment -> (section, local id, which of its versions) that it belongs to."""


def state(export: Export, ids: IdKey) -> tuple[State, Attached]:
    """All versions, without their blobs; and which blob each lacks. Raises CallerError."""
    found = dict[tuple[str, str], list[tuple[Version, str | None]]]()
    try:
        for section, version, path in _versions(export):
            place = _MOVED if version.left else section
            found.setdefault((place, version.operation.local), []).append((version, path))
    except WRONG:
        raise refused("a line of the record is not of the format") from None
    made, attached = State(export.manifest.position), Attached()
    for (section, local), versions in sorted(found.items()):
        versions.sort(key=lambda one: one[0].operation.version)
        numbers = [version.operation.version for version, _ in versions]
        if len(set(numbers)) != len(numbers):
            raise refused("a version comes twice")
        _resources(made, section)[local] = [version for version, _ in versions]
        for number, (_, path) in enumerate(versions):
            if path is not None:
                attached.setdefault(path, []).append((section, local, number))
    _require_patient(made, export.manifest, ids)
    return made, attached


def attach(made: State, attached: Attached, blobs: Mapping[str, Blob]) -> None:
    """Put each blob to the versions that it belongs to. One that was missing stays so."""
    for path, places in attached.items():
        for section, local, number in places:
            versions = _resources(made, section)[local]
            put = versions[number].operation
            if path in blobs and isinstance(put, Put):
                versions[number] = replace(versions[number], operation=replace(put, blob=blobs[path]))


def _resources(made: State, section: str) -> dict[str, list[Version]]:
    return made.moved if section == _MOVED else made.sections.setdefault(section, {})


def _versions(export: Export) -> Iterator[tuple[str, Version, str | None]]:
    for path, text in export.texts.items():
        folder, _, name = path.partition("/")
        if folder == "fhir":
            beside = export.texts[f"provenance/{name}"].splitlines()
            for resource, told in zip(text.splitlines(), beside, strict=True):
                yield _version(export, parsed(told), resource)
        elif folder == "history":
            for line in text.splitlines():
                head, found, tail = line.partition(_RESOURCE)
                yield _version(export, parsed(head + b"}" if found else line), tail[:-1] if found else None)


def _version(export: Export, told: dict[str, Any], resource: bytes | None) -> tuple[str, Version, str | None]:
    position, writer, path = told["position"], told["writer"], told.get("attachment")
    operation = read_members({name: value for name, value in told.items() if name != "blob"}, resource)
    if isinstance(operation, Remove) or type(position) is not int or not 1 <= position <= export.manifest.position:
        raise ValueError("no version of this log")
    refuse_unsound(export.manifest.vault, operation)
    if writer not in (OWNER, IMPORTED) and not _SOURCE.fullmatch(writer):
        raise ValueError("no writer")
    if path is not None and (
        operation.resource_type != "Binary" or not (path in export.manifest.files or path in export.manifest.missing)
    ):
        raise ValueError("no attachment of this export")
    section = require_section(told["section"])
    left = _left(section, position, told["left"], export) if "left" in told else None
    return section, Version(position, _writer(writer, operation.resource_type), operation, left), path


def _left(section: str, came: int, position: Any, export: Export) -> Left:
    if type(position) is not int or not came <= position <= export.manifest.position:
        raise ValueError("no position at which it left")
    return Left(section, position)


def _writer(writer: str, resource_type: str) -> str:
    """Nothing that a file says was signed counts as signed here."""
    return IMPORTED if writer == OWNER and resource_type == "Consent" else writer


def _require_patient(made: State, manifest: Manifest, ids: IdKey) -> None:
    """The record is about somebody, whom its owner has named."""
    local = ids.local(*PATIENT_SOURCE)
    versions = made.sections.get(IDENTITY, {}).get(local, [])
    try:
        newest = versions[-1]
        if not isinstance(newest.operation, Put) or newest.writer != OWNER or manifest.patient != local:
            raise ValueError("not the owner's")
        patient.person(loads(newest.operation.resource))
    except (*WRONG, CallerError):
        raise refused("it holds no person whose record it is") from None
