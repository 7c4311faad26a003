"""R4's expressions as fhirpathpy evaluates them: the oracle of extraction and search.

It cannot resolve a reference, so `where(resolve() is Patient)` is judged here by the type that the reference names, and
its `as` takes one value, where R4's expressions mean every (`ofType`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from fhirpathpy import compile as compiled
from fhirpathpy.models import models

Resource = Mapping[str, Any]

_AS = re.compile(r"\(([\w.]+) as (\w+)\)")
_RESOLVED = re.compile(r"\.where\(resolve\(\) is (\w+)\)$")


@cache
def definitions() -> Mapping[tuple[str, str], tuple[str, str, str]]:
    """(type, parameter) -> kind, expression and the last column, as the table has them."""
    text = files("aggregator.fhir").joinpath("search_parameters.tsv").read_text(encoding="utf-8")
    rows = ([*line.split("\t"), ""][:5] for line in text.splitlines() if not line.startswith("#"))
    return {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows}


def of_type(resource_type: str) -> dict[str, tuple[str, str, str]]:
    """The definitions of a type's own parameters and the common ones, by name."""
    found = definitions().items()
    return {name: row for (kind, name), row in found if kind in (resource_type, "Resource")}


def values(expression: str, resource: Resource) -> list[Any]:
    """What the alternatives of an expression find, one after the other."""
    return [value for branch in expression.split(" | ") for value in _branch(branch, resource)]


def _branch(expression: str, resource: Resource) -> list[Any]:
    only = _RESOLVED.search(expression)
    own = re.sub(r"^Resource\.", f"{resource['resourceType']}.", _RESOLVED.sub("", expression))
    found = _compiled(_AS.sub(r"\1.ofType(\2)", own))(resource)
    return [value for value in found if only is None or _names(value, only[1])]


def _names(value: Any, resource_type: str) -> bool:
    return re.search(rf"(?:^|/){resource_type}/[^/]+(?:/_history/.+)?$", value.get("reference", "")) is not None


@cache
def _compiled(expression: str) -> Callable[[Resource], list[Any]]:
    made: Callable[[Resource], list[Any]] = compiled(expression.replace(".as(", ".ofType("), models["r4"])
    return made
