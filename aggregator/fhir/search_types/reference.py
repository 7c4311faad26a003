"""reference: what another resource is named by. https://hl7.org/fhir/R4/search.html#reference."""

from __future__ import annotations

import re

from aggregator.fhir.asked import Asked, plain
from aggregator.fhir.clause import Condition
from aggregator.fhir.index import reference_term
from aggregator.fhir.search_types.terms import Terms, TermTest

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_TYPED_ID = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}")
_URL = re.compile(r"[a-z][a-z0-9+.\-]*:\S+")


def parse(asked: Asked) -> Condition:
    """`Type/id`, `id`, or a URL, which under our own address is `Type/id` again."""
    only = asked.modifier or ("Patient" if asked.parameter.name == "patient" else None)
    tests = tuple(_test(asked, only, plain(value)) for value in asked.values)
    return Terms(name=asked.name, scope=asked.parameter.scope, tests=tests)


def _test(asked: Asked, only: str | None, value: str) -> TermTest:
    relative = value.removeprefix(f"{asked.base_url}/")
    if _ID.fullmatch(relative):
        return TermTest(only, relative)
    if not (_TYPED_ID.fullmatch(relative) or _URL.fullmatch(relative)):
        raise asked.bad("not a reference")
    system, text = reference_term(relative)
    if only and system not in ("", only):
        raise asked.bad("a reference to another type")
    return TermTest(system, text)
