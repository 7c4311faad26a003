"""What a Bundle says of all that it holds: the highest confidentiality of any resource in it, and every other label.

https://hl7.org/fhir/R4/security-labels.html: sensitivities, handling, and REDACTED where something was masked. Of a
page the labels are read off the index (`_security`), so no resource is looked at. What carries no confidentiality is N,
so nothing below that is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from aggregator.consent.facts import CONFIDENTIALITY_LEVELS
from aggregator.fhir.parameters import COMMON, of_type
from aggregator.fhir.view import View
from fhir_profiles.codes import CONFIDENTIALITY
from fhir_profiles.text import Resource, dumps

_NORMAL = CONFIDENTIALITY_LEVELS.index("N")
(_SCOPE,) = of_type(COMMON)["_security"].scopes
_AMONG = """
SELECT t.system, t.text FROM term t WHERE t.scope = ?
AND EXISTS (SELECT 1 FROM json_each(?) w CROSS JOIN posting p ON p.tid = t.tid AND p.rid = w.value)
"""
_WITHIN = """
SELECT t.system, t.text FROM term t WHERE t.scope = ?
AND EXISTS (SELECT 1 FROM posting p WHERE p.tid = t.tid AND p.rid >= ? AND p.rid < ?)
"""

_Label = tuple[str, str]
"""(system, code)."""


def of(view: View, rids: Sequence[int]) -> dict[str, Any]:
    """`meta` of a Bundle with these resources, as a member; none where none of them carries a label."""
    if isinstance(rids, range):
        return _member(view.image.select(_WITHIN, (_SCOPE, rids.start, rids.stop)))
    return _member(view.image.select(_AMONG, (_SCOPE, dumps(rids).decode())))


def of_bodies(resources: Iterable[Resource]) -> dict[str, Any]:
    """The same of resources that are no view's present ones."""
    labels = (label for one in resources for label in one.get("meta", {}).get("security", ()))
    return _member((label.get("system", ""), label["code"]) for label in labels if "code" in label)


def _member(labels: Iterable[Sequence[str]]) -> dict[str, Any]:
    found = {(system, code) for system, code in labels}
    levels = [CONFIDENTIALITY_LEVELS.index(code) for system, code in found if _is_level(system, code)]
    others = sorted(label for label in found if not _is_level(*label))
    highest = [(CONFIDENTIALITY, CONFIDENTIALITY_LEVELS[max(_NORMAL, *levels)])] if levels else []
    told = [({"system": system} if system else {}) | {"code": code} for system, code in (*highest, *others)]
    return {"meta": {"security": told}} if told else {}


def _is_level(system: str, code: str) -> bool:
    return system == CONFIDENTIALITY and code in CONFIDENTIALITY_LEVELS
