"""SMART v2 scopes of backend services: `system/Observation.rs`, and `c` for who adds to a record. Of apps: app_scopes.

https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LETTERS = "crs"
"""What a client may be given: create, read, search."""

_SCOPE = re.compile(r"system/(\*|[A-Z][A-Za-z]+)\.(read|\*|c?r?u?d?s?)")
_READING = {"read": "rs", "*": "rs"}


def granted(requested: str) -> tuple[str, ...]:
    """Those of the requested scopes that a client may have, as v2 scopes: to read, and to create where it says so.

    What would change or delete is left out.
    """
    found = []
    for text in requested.split():
        match = _SCOPE.fullmatch(text)
        if match:
            letters = "".join(letter for letter in _READING.get(match[2], match[2]) if letter in LETTERS)
            if letters:
                found.append(f"system/{match[1]}.{letters}")
    return tuple(dict.fromkeys(found))


def allows(scopes: Iterable[str], resource_type: str, letter: str) -> bool:
    """Do the scopes allow this interaction ("c" create, "r" read, "s" search) on this type?

    A granular scope allows it on its type: that it finds no other resources is the view's.
    """
    for scope in scopes:
        target, _, letters = scope.partition("?")[0].partition("/")[2].rpartition(".")
        if target in ("*", resource_type) and letter in letters:
            return True
    return False
