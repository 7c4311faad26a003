"""From what a FHIR server sent to items of the contract: whose it is, what it refers to, where it came from. Pure.

A server says "https://clinic.example/fhir/Encounter/7" where it means its own Encounter/7; in the record the reference
is relative, as connectors/contract.py asks. Whatever the server sent may be wrong in any way: nothing here relies on a
JSON type that was not looked at.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connectors.contract import Deleted, Found, Item, Origin, Reason, Skipped
from connectors.fhir_xml_page import Unreadable
from connectors.patient_compartment import SUBJECT_ELEMENTS, USUAL_SUBJECT_ELEMENTS
from fhir_profiles import text
from fhir_profiles.text import Resource

# https://hl7.org/fhir/R4/references.html#literal, ids as in https://hl7.org/fhir/R4/datatypes.html#id
_LOCAL = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One patient's account at a FHIR server.

    base: the service base with a slash at its end. types: the resource types that are taken.
    """

    base: str
    patient_id: str
    types: frozenset[str]


def item(account: Account, value: Any, fetched_at: datetime) -> Item:
    """What becomes of something that the server gave as a resource.

    Skipped: INVALID without type or id, OTHER_PERSON (without its payload) for what says that it is somebody else's,
    UNKNOWN_TYPE for a type that is not taken, UNREADABLE for wrong XML.
    """
    told = _told(value)
    raw = value.raw if isinstance(value, Unreadable) else text.dumps(value)
    source_id = name(value)
    if source_id is None:
        unnamed = f"unnamed/{hashlib.sha256(raw).hexdigest()}"
        return Skipped(Reason.INVALID, _origin(account, raw, unnamed, fetched_at), raw, "It has no type or no id.")
    origin = _origin(account, raw, source_id, fetched_at)
    own = relative(account.base, told)
    if not is_of(account.patient_id, own):
        return Skipped(Reason.OTHER_PERSON, origin, b"", "The resource is about somebody else.")
    if told["resourceType"] not in account.types:
        return Skipped(Reason.UNKNOWN_TYPE, origin, raw, "The resource is of a type that is not taken.")
    if isinstance(value, Unreadable):
        return Skipped(Reason.UNREADABLE, origin, raw, "The resource does not parse as FHIR XML.")
    return Found(own, origin)


def _told(value: Any) -> Any:
    return value.outline if isinstance(value, Unreadable) else value


def gone(account: Account, entry: Any, fetched_at: datetime) -> Deleted | None:
    """What a history entry takes from this patient: deleted, or said to be somebody else's. None for anything else.

    The entry of a resource that is somebody else's says so at every change; whether it was ever here, the ledger knows.
    """
    target = history_target(account, entry)
    if target is None or not (_deletes(entry) or _is_anothers(account, entry)):
        return None
    return Deleted(target.partition("/")[0], _origin(account, b"", target, fetched_at))  # another's payload stays out


def _deletes(entry: Any) -> bool:
    request = entry.get("request")
    return isinstance(request, dict) and request.get("method") == "DELETE"


def _is_anothers(account: Account, entry: Any) -> bool:
    resource = entry.get("resource")
    return name(resource) is not None and not is_of(account.patient_id, relative(account.base, _told(resource)))


def history_target(account: Account, entry: Any) -> str | None:
    """The "Type/id" that a history entry is about."""
    request = entry.get("request") if isinstance(entry, dict) else None
    named = name(entry.get("resource")) if isinstance(entry, dict) else None
    url = request.get("url") if isinstance(request, dict) else None
    return named or (local(account.base, url) if isinstance(url, str) else None)


def name(value: Any) -> str | None:
    """ "Type/id" of a resource; None where it has no type or no proper id."""
    told = _told(value)
    if not isinstance(told, dict):
        return None
    kind, local_id = told.get("resourceType"), told.get("id")
    match = _LOCAL.fullmatch(f"{kind}/{local_id}")
    return match[0] if match and (match[1], match[2]) == (kind, local_id) else None


def local(base: str, reference: str) -> str | None:
    """ "Type/id" that a reference means at this server, its version dropped; None where it points elsewhere."""
    match = _LOCAL.fullmatch(reference.removeprefix(base))
    return f"{match[1]}/{match[2]}" if match else None


def relative(base: str, value: Any) -> Any:
    """The same with every reference into the server's own base made relative; a version in it stays."""
    if isinstance(value, list):
        return [relative(base, child) for child in value]
    if not isinstance(value, dict):
        return value
    made = {key: child if type(child) is str else relative(base, child) for key, child in value.items()}
    if type(target := made.get("reference")) is str:
        made["reference"] = target.removeprefix(base)
    return made


def references(value: Any) -> Iterator[str]:
    """The "Type/id" of every local reference in a resource whose references are relative."""
    if isinstance(value, dict):
        target = value.get("reference")
        match = _LOCAL.fullmatch(target) if isinstance(target, str) else None
        if match:
            yield f"{match[1]}/{match[2]}"
    for child in _children(value):
        yield from references(child)


def is_of(patient_id: str, resource: Resource) -> bool:
    """Whether a resource is this patient's or nobody's: False where it names Patients and not this one.

    A Patient elsewhere is somebody else: that it is the same person cannot be known here.
    """
    if resource["resourceType"] == "Patient":
        return bool(resource["id"] == patient_id)
    paths = SUBJECT_ELEMENTS.get(resource["resourceType"], USUAL_SUBJECT_ELEMENTS)
    named = {_patient(target) for path in paths for target in _at(resource, path.split(".")) if _patient(target)}
    return not named or patient_id in named


def _at(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for element in value:
            yield from _at(element, path)
    elif path and isinstance(value, dict):
        yield from _at(value.get(path[0]), path[1:])
    elif not path:
        yield value


def _patient(target: Any) -> str | None:
    reference = target.get("reference") if isinstance(target, dict) else None
    if not isinstance(reference, str):
        return None
    match = _LOCAL.fullmatch(reference)
    if match:
        return match[2] if match[1] == "Patient" else None
    return reference if "/Patient/" in reference else None


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _origin(account: Account, raw: bytes, source_id: str, fetched_at: datetime) -> Origin:
    path = "/" + account.base.split("://", 1)[-1].partition("/")[2]  # without the host, which may move
    return Origin.of(raw, locator=path + source_id, source_id=source_id, fetched_at=fetched_at)
