"""The record as lines: each version of each resource, with where it came from (FORMAT-EXPORT.md section 1)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aggregator.vault.blob import Blob
from aggregator.vault.encoding import canonical
from aggregator.vault.envelope import Put, members
from aggregator.vault.fold import State, Version
from fhir_profiles.structure import RESOURCES
from fhir_profiles.text import loads

OTHER = "Other"
_NO_NAME = re.compile(r"[^A-Za-z0-9]")
# What people's programs open by the end of its name; anything else has none.
_ENDINGS = {
    "application/pdf": ".pdf",
    "application/dicom": ".dcm",
    "application/xml": ".xml",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/tiff": ".tif",
    "text/html": ".html",
    "text/plain": ".txt",
}


@dataclass(slots=True)
class Lines:
    """By name of a file under `fhir`, `provenance` and `history`: its lines, without line breaks.

    attachments: path -> the blob that it is. sections: name -> how many current resources lie there.
    """

    current: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    beside: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    history: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    attachments: dict[str, Blob] = field(default_factory=dict)
    sections: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def lines(state: State) -> Lines:
    """Everything that the state holds, in an order that is the record's alone."""
    made = Lines()
    shown = {(section, versions[-1].operation.local) for section, versions in state.newest()}
    for local, section, versions in _ordered(state):
        kind = _kind(versions)
        for version in versions:
            newest = version is versions[-1] and (section, local) in shown
            _add(made, kind, section, version, current=newest and isinstance(version.operation, Put))
    for _, versions in sorted(state.moved.items()):
        for version in versions:
            if version.left:
                _add(made, _kind(versions), version.left.section, version, current=False)
    return made


def _ordered(state: State) -> Iterator[tuple[str, str, list[Version]]]:
    places = sorted((local, section) for section, resources in state.sections.items() for local in resources)
    for local, section in places:
        yield local, section, state.sections[section][local]


def _kind(versions: list[Version]) -> str:
    """The file for a resource. An end may not say its type; what a writer calls a type may be no file's name."""
    told = (version.operation.resource_type for version in reversed(versions))
    return next((kind for kind in told if kind in RESOURCES), OTHER)


def _add(made: Lines, kind: str, section: str, version: Version, *, current: bool) -> None:
    operation = version.operation
    told: dict[str, Any] = members(operation)
    told |= {"section": section, "position": version.position, "writer": version.writer}
    if version.left:
        told["left"] = version.left.position
    if told.pop("blob", None) and isinstance(operation, Put) and operation.blob:
        path = _attachment(operation)
        told["attachment"] = path
        made.attachments[path] = operation.blob
    if current and isinstance(operation, Put):
        made.sections[section] += 1
        made.current[kind].append(operation.resource)
        made.beside[kind].append(canonical(told))
    elif isinstance(operation, Put):
        made.history[kind].append(canonical(told)[:-1] + b',"resource":' + operation.resource + b"}")
    else:
        made.history[kind].append(canonical(told))


def _attachment(put: Put) -> str:
    content_type = str(loads(put.resource).get("contentType", "")).partition(";")[0].strip().lower()
    return f"attachments/{_NO_NAME.sub('', put.local)}-{put.version}{_ENDINGS.get(content_type, '')}"


def authorities(state: State) -> Mapping[str, str]:
    """Source handle in hex -> the name under which its resources came."""
    found = dict[str, str]()
    for version in state.every():
        found.setdefault(version.writer, str(version.operation.origin.get("source", "")))
    return found
