"""reference: what a resource names another by. https://hl7.org/fhir/R4/search.html#reference.

A reference to a resource of the same view is a link to it; one that leads elsewhere (a URL, a canonical, an id that is
not there) is a term, its system the type that it names, its text the id or the whole URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from aggregator.fhir.asked import Asked, plain
from aggregator.fhir.clause import Clause, Condition, among, either, scoped
from aggregator.fhir.parameters import IDENTIFIER
from aggregator.fhir.paths import Enter, Leaf
from aggregator.fhir.search_types.terms import Terms, TermTest
from aggregator.fhir.search_types.token import coded
from aggregator.fhir.search_types.uri import versions
from aggregator.fhir.view import View, local_id
from aggregator.vault.index_rows import Rows

ANY_TYPE = re.compile(r"[A-Z][A-Za-z]+")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_TYPED = re.compile(r"(?:[a-z][a-z0-9+.\-]*:\S+/)?([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/\S+)?")
_URL = re.compile(r"[a-z][a-z0-9+.\-]*:\S+")


class References(Terms):
    """The resource refers to one of these: each a type (None: any), and an id or a URL."""

    __slots__ = ()

    def clause(self, view: View) -> Clause:
        """Links to what is in the view, or terms."""
        terms = super().clause(view)
        targets = {rid for test in self.tests for rid in _targets(view, test)}
        return either([found for found in (links(view, self.scopes, targets), terms) if found.size] or [terms])


def links(view: View, scopes: tuple[int, ...], targets: set[int]) -> Clause:
    """References in these scopes to these resources, by their rids."""
    to = among("link", "target", sorted(targets), 0)
    holds = f"{scoped(scopes)} AND {to.holds}"
    counting = f"SELECT count(*) FROM link t WHERE {holds.format(row='t')}"  # noqa: S608  # a template of our own
    size = view.image.select(counting, to.values)[0][0] if targets else 0
    return replace(to, holds=holds, size=size, distinct=len(scopes) == len(targets) == 1)


def _targets(view: View, test: TermTest) -> Iterator[int]:
    local = local_id(view, test.text or "")
    for resource_type in (test.system,) if test.system else view.image.kinds:
        rid = view.image.find(resource_type, local) if local else None
        if rid is not None:
            yield rid


def parse(asked: Asked) -> Condition:
    """`Type/id`, `id`, or a URL, which under our own address is `Type/id` again; `system|value` under `:identifier`."""
    if asked.modifier == "identifier":
        scopes = tuple(scope + IDENTIFIER for scope in asked.parameter.scopes)
        return Terms(name=asked.name, scopes=scopes, tests=tuple(coded(asked, value) for value in asked.values))
    only = asked.modifier or asked.parameter.only or None
    tests = tuple(_test(asked, only, plain(value)) for value in asked.values)
    return References(name=asked.name, scopes=asked.parameter.scopes, tests=tests)


def _test(asked: Asked, only: str | None, value: str) -> TermTest:
    relative = value.removeprefix(f"{asked.base_url}/")
    if _ID.fullmatch(relative):
        return TermTest(only, relative)
    if not (_TYPED.fullmatch(relative) or _URL.fullmatch(relative)):
        raise asked.bad("not a reference")
    named, text = _target(relative)
    if only and named not in ("", only):
        raise asked.bad("a reference to another type")
    return TermTest(named or only, text)


def _target(reference: str) -> tuple[str, str]:
    """Type and id of a relative reference, whatever its version; of a URL the type that it ends with, and the whole."""
    typed = _TYPED.fullmatch(reference)
    if typed is None:
        return "", reference
    return typed[1], typed[2] if reference.startswith(f"{typed[1]}/") else reference


def _reference(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    if not isinstance(value, dict):
        return False
    identifier = value.get("identifier")
    if isinstance(identifier, dict) and isinstance(identifier.get("value"), str):
        system = identifier.get("system")
        into.terms.add((scope + IDENTIFIER, system if isinstance(system, str) else "", identifier["value"]))
    return _literal(value.get("reference"), scope, into)


def _literal(text: Any, scope: int, into: Rows) -> bool:
    if not isinstance(text, str) or text.startswith("#"):  # what is contained is found by no id
        return False
    into.links.add((scope, *_target(text)))
    return True


def _canonical(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    found = [_literal(one, scope, into) for one in versions(value)] if isinstance(value, str) else []
    return any(found)


def _resource(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    """A resource in a Bundle, as if it were referred to."""
    named = [value.get(name) for name in ("resourceType", "id")] if isinstance(value, dict) else [None]
    parts = [part for part in named if isinstance(part, str)]
    return len(parts) == 2 and _literal("/".join(parts), scope, into)


ROWS: Mapping[str, Enter] = {
    "Reference": _reference,
    "canonical": _canonical,
    "uri": _canonical,
    "Resource": _resource,
}
