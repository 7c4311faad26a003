"""The entries of a batch or transaction: what each asks for, and in which order they are processed.

https://hl7.org/fhir/R4/http.html#transaction
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from aggregator.errors import HTTP, CallerError
from aggregator.fhir.condition import Condition
from aggregator.fhir.resource_types import TYPES
from fhir_profiles.text import Resource

BATCH, TRANSACTION = "batch", "transaction"
MOST = 1000
"""Entries of one Bundle."""

ORDER = ("DELETE", "POST", "PUT", "PATCH", "GET", "HEAD")
"""In which the entries of a transaction are processed, wherever they stand."""

ANY = 0
"""What `If-Match: *` asks for: that there is one. No resource has this version."""

_BRINGS = frozenset({"POST", "PUT", "PATCH"})
_INSTANCE = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9.-]{1,64})")
_VERSION = re.compile(r'(?:W/)?"(\d{1,9})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry, or a request of its own. url: as it came; headers: the conditions on it, by their HTTP names.

    place: where it stands in its Bundle, as a path; empty for a request of its own.
    """

    place: str = ""
    full_url: str = ""
    method: str
    url: str
    resource: Resource | None = None
    headers: Mapping[str, str]

    def target(self, base_url: str) -> tuple[str, str]:
        """Type and whole id that the URL names; the id is empty where it names a type or a condition.

        Raises CallerError.
        """
        path = self.url.removeprefix(f"{base_url}/").partition("?")[0]
        found = _INSTANCE.fullmatch(path)
        resource_type, whole_id = (found[1], found[2]) if found else (path, "")
        if resource_type not in TYPES:
            raise CallerError.at(
                f"{self.place}.request.url" if self.place else "", "a type, or a type and an id, is expected in the URL"
            )
        return resource_type, whole_id

    def condition(self, base_url: str) -> Condition | None:
        """What must find the resource: in the URL, for a POST in ifNoneExist."""
        if self.method == "POST":
            query = self.headers.get("if-none-exist")
            return Condition(self.target(base_url)[0], query) if query is not None else None
        stated = Condition.of(self.url.removeprefix(f"{base_url}/"))
        return stated._replace(several=self.method == "DELETE") if stated else None

    def unheard(self) -> list[tuple[str, str]]:
        """The parameters of a create, which takes none."""
        return parse_qsl(self.url.partition("?")[2], keep_blank_values=True) if self.method == "POST" else []

    def if_match(self) -> int | None:
        """The version that the caller read, or ANY. Raises CallerError."""
        return version(self.headers.get("if-match"))


def version(given: str | None) -> int | None:
    """The version in `If-Match: W/"3"`, or ANY. Raises CallerError for another form."""
    if given is not None and given.strip() == "*":
        return ANY
    found = _VERSION.fullmatch(given.strip()) if given is not None else None
    if given is not None and found is None:
        raise CallerError.at(f"{HTTP}If-Match", 'W/"version" is expected')
    return int(found[1]) if found else None


def entries(bundle: Resource) -> list[Entry]:
    """Every entry of a batch or transaction. Raises CallerError that names the place."""
    stated = bundle.get("entry", [])
    if not isinstance(stated, list) or not all(isinstance(one, dict) for one in stated):
        raise CallerError.at("Bundle.entry", "a list of entries is expected")
    if len(stated) > MOST:
        raise CallerError.at("Bundle.entry", f"at most {MOST} entries are taken in one Bundle")
    return [_entry(number, one) for number, one in enumerate(stated)]


def in_order(found: Sequence[Entry]) -> list[Entry]:
    """As a transaction processes them."""
    return sorted(found, key=lambda entry: ORDER.index(entry.method))


_HEADERS = {
    "ifNoneMatch": "if-none-match",
    "ifModifiedSince": "if-modified-since",
    "ifMatch": "if-match",
    "ifNoneExist": "if-none-exist",
}


def _entry(number: int, stated: dict[str, Any]) -> Entry:
    place, asked, resource = f"Bundle.entry[{number}]", stated.get("request"), stated.get("resource")
    if not isinstance(asked, dict):
        raise CallerError.at(f"{place}.request", "is required in a batch or transaction")
    method, url = asked.get("method"), asked.get("url")
    if method not in ORDER:
        raise CallerError.at(f"{place}.request.method", f"one of {', '.join(ORDER)} is expected")
    if not isinstance(url, str) or not url:
        raise CallerError.at(f"{place}.request.url", "is required")
    if (method in _BRINGS) != isinstance(resource, dict):
        told = f"is {'required' if method in _BRINGS else 'not expected'} with {method}"
        raise CallerError.at(f"{place}.resource", told)
    headers = {name: asked[member] for member, name in _HEADERS.items() if member in asked}
    if not all(isinstance(value, str) for value in headers.values()):
        raise CallerError.at(f"{place}.request", "a condition is a string")
    full_url = stated.get("fullUrl")
    return Entry(
        place=place,
        full_url=full_url if isinstance(full_url, str) else "",
        method=method,
        url=url,
        resource=resource,
        headers=headers,
    )
