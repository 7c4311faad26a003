"""Links inside a Bundle, and conditional references, become "Type/id".

https://hl7.org/fhir/R4/http.html#trules: a reference to another entry's fullUrl is rewritten to the id which that entry
gets; one such as `Practitioner?identifier=system|value` to the one resource that matches. A `urn:uuid:` that no entry
has stays as it is, as in most servers. Links in narrative are not rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from aggregator.demo.fhir_server.refused import Refused
from aggregator.demo.fhir_server.store import Store, Version

_LINKS = frozenset({"reference", "url", "uri", "valueUri", "valueUrl", "valueUuid"})
_CONDITIONAL = re.compile(r"([A-Z][A-Za-z]+)\?(.+)")


def relinked(node: Any, link: Callable[[str], str]) -> Any:
    """A copy in which every link has gone through `link`, contained resources included."""
    if isinstance(node, dict):
        return {
            name: link(value) if name in _LINKS and isinstance(value, str) else relinked(value, link)
            for name, value in node.items()
        }
    return [relinked(item, link) for item in node] if isinstance(node, list) else node


def resolver(store: Store, placed: Mapping[str, str]) -> Callable[[str], str]:
    """What relinked() needs. placed: fullUrl -> "Type/id". The result raises Refused as `only_match` does."""

    def link(text: str) -> str:
        if text in placed:
            return placed[text]
        condition = _CONDITIONAL.fullmatch(text)
        return one_match(store, condition[1], condition[2]).path if condition else text

    return link


def one_match(store: Store, resource_type: str, query: str) -> Version:
    """The one resource that a conditional reference means. Raises Refused (412) for none and for several."""
    found = only_match(store, resource_type, query)
    if found is None:
        raise Refused(412, f"a conditional reference to {resource_type} matches nothing")
    return found


def only_match(store: Store, resource_type: str, query: str) -> Version | None:
    """What the condition `identifier=system|value` matches. Raises Refused: 412 for several, 400 for another one."""
    criteria = parse_qsl(query)
    if len(criteria) != 1 or criteria[0][0] != "identifier":
        raise Refused(400, "a condition is one identifier=system|value")
    matches = with_identifier(store, resource_type, criteria[0][1])
    if len(matches) > 1:
        raise Refused(412, f"a condition on {resource_type} matches several resources")
    return matches[0] if matches else None


def with_identifier(store: Store, resource_type: str, token: str) -> list[Version]:
    """What carries the identifier: `system|value`, `|value` (no system) or `value` (any)."""
    system, bar, value = token.rpartition("|")
    candidates = store.identified(resource_type, value)
    return [version for version in candidates if not bar or (system, value) in version.identifiers]
