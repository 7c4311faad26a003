"""Patient/$everything: all that the view holds, page by page. https://hl7.org/fhir/R4/patient-operation-everything.html.

A vault is one patient's record, and a view holds only what this caller may see with what that refers to: so everything
is the whole view. `start` and `end` are about the dates of care, `_since` about when a resource was stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from aggregator.fhir.bundle import Answer, Page, answer, stretch
from aggregator.fhir.outcome import BadQuery, UnknownParameter
from aggregator.fhir.page import COUNT, DEFAULT_COUNT, PAGE, Links, Pairs, count, single
from aggregator.fhir.parameters import Kind, of_type
from aggregator.fhir.read import read
from aggregator.fhir.view import View
from aggregator.vault.image import Served
from fhir_profiles import dates
from fhir_profiles.dates import EVER

PARAMETERS = ("_type", "_since", "start", "end", COUNT, PAGE)
_UNHEARD = ("_format", "_pretty")  # about the answer's form, which is settled before

_NO_CARE = frozenset({"birthdate", "death-date", "_lastUpdated"})
"""Dates that say nothing about when care was given."""

_HAS = "EXISTS (SELECT 1 FROM span s WHERE s.scope = ? AND s.rid = r.rid)"
_IN = "EXISTS (SELECT 1 FROM span s WHERE s.scope = ? AND s.rid = r.rid AND s.low < ? AND s.high > ?)"
_ROWS = """
SELECT r.rid, r.local, r.start, r.size
FROM resource r WHERE r.rid >= ? AND r.rid < ? AND r.updated >= ?{care} ORDER BY r.rid LIMIT ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """care: from when to when care is asked for, in milliseconds, the end excluded; None for all."""

    page: Page
    types: frozenset[str]
    since: int
    care: tuple[int, int] | None
    token: str | None

    @property
    def whole(self) -> bool:
        """Is nothing left out?"""
        return not self.types and not self.since and self.care is None


def everything(view: View, patient_id: str, pairs: Pairs, links: Links, *, strict: bool = False) -> Answer:
    """The searchset Bundle, one page of it, in the order (type, id). Raises NotFound, Gone, BadQuery.

    `_type`: only these types. `_since`: only what was stored at or after this instant. `start`, `end`: not what is
    dated outside of these days; what has no date of care, such as a practitioner, is in every answer.
    """
    read(view, "Patient", patient_id)
    asked = _parse(f"Patient/{patient_id}/$everything", pairs, strict=strict)
    page, token = asked.page, asked.token
    start = links.after(view, page.path, page.query, token) if token is not None else 1
    if asked.whole and view.image.framed:
        return stretch(view, links, page, start)
    return answer(view, links, page, _shown(view, asked, start))


def _parse(path: str, pairs: Pairs, *, strict: bool) -> _Asked:
    given = single(pairs, PARAMETERS)
    ignored = tuple(name for name, _ in pairs if name not in PARAMETERS and name not in _UNHEARD)
    if ignored and strict:
        raise UnknownParameter(ignored[0])
    kept = [pair for pair in pairs if pair[0] in PARAMETERS and pair[0] != PAGE]
    return _Asked(
        page=Page(path=path, query=urlencode(kept), count=count(given.get(COUNT, str(DEFAULT_COUNT))), ignored=ignored),
        types=frozenset(types(given["_type"])) if "_type" in given else frozenset(),
        since=moment("_since", given["_since"])[0] if "_since" in given else 0,
        care=period(given),
        token=given.get(PAGE),
    )


def types(value: str) -> list[str]:
    """The resource types of a `_type`. Raises BadQuery."""
    names = value.split(",")
    if not all(name.isascii() and name.isalpha() for name in names):
        raise BadQuery("_type", "not a list of resource types")
    return names


def moment(name: str, value: str) -> tuple[int, int]:
    """The stretch of a parameter's date. Raises BadQuery."""
    found = dates.stretch(value)
    if found is None:
        raise BadQuery(name, "not an instant" if name == "_since" else "not a date")
    return found


def period(given: Mapping[str, str]) -> tuple[int, int] | None:
    """From the beginning of `start` to the end of `end`; None without both. Raises BadQuery."""
    if "start" not in given and "end" not in given:
        return None
    low = moment("start", given["start"])[0] if "start" in given else EVER[0]
    high = moment("end", given["end"])[1] if "end" in given else EVER[1]
    if low >= high:
        raise BadQuery("end", "before start")
    return low, high


def _shown(view: View, asked: _Asked, start: int) -> list[Served]:
    """The page's resources, and one more where a further page follows: type by type, which is their order."""
    found = list[Served]()
    for kind, rids in view.image.kinds.items():
        wanted = asked.page.count + 1 - len(found)
        if wanted > 0 and rids.stop > start and (not asked.types or kind in asked.types):
            care, values = _care(kind, asked.care)
            rows = view.image.select(
                _ROWS.format(care=care), (max(start, rids.start), rids.stop, asked.since, *values, wanted)
            )
            found += view.image.show(rows)
    return found


def _care(kind: str, asked: tuple[int, int] | None) -> tuple[str, list[int]]:
    """What must hold of a row of this type: one of its dates lies in the period, or it has none."""
    parameters = of_type(kind).values()
    dates = [one for one in parameters if one.kind is Kind.DATE and one.name not in _NO_CARE]
    scopes = sorted({scope for one in dates for scope in one.scopes})
    if asked is None or not scopes:
        return "", []
    low, high = asked
    dated, within = " OR ".join([_HAS] * len(scopes)), " OR ".join([_IN] * len(scopes))
    values = [*scopes, *(value for scope in scopes for value in (scope, high, low))]
    return f" AND (NOT ({dated}) OR {within})", values
