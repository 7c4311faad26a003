"""Patient/$everything: all that the view holds, page by page. https://hl7.org/fhir/R4/patient-operation-everything.html.

A vault is one patient's record, and a view holds only what this caller may see with what that refers to: so everything
is the whole view.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from aggregator.fhir.bundle import Answer, Page, answer
from aggregator.fhir.outcome import BadQuery, UnknownParameter
from aggregator.fhir.page import COUNT, DEFAULT_COUNT, PAGE, Links, Pairs, count, single
from aggregator.fhir.read import read
from aggregator.fhir.view import View
from fhir_profiles.dates import stretch

PARAMETERS = ("_type", "_since", COUNT, PAGE)
_UNHEARD = ("_format", "_pretty")  # about the answer's form, which is settled before


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    page: Page
    types: frozenset[str]
    since: int
    token: str | None


def everything(view: View, patient_id: str, pairs: Pairs, links: Links, *, strict: bool = False) -> Answer:
    """The searchset Bundle, one page of it, in the order (type, id). Raises NotFound, Gone, BadQuery.

    `_type`: only these types. `_since`: only what was stored at or after this instant.
    """
    read(view, "Patient", patient_id)
    asked = _parse(f"Patient/{patient_id}/$everything", pairs, strict=strict)
    page, token = asked.page, asked.token
    start = links.after(view, page.path, page.query, token) if token is not None else 0
    return answer(view, links, page, view.image.served(_rids(view, asked, start)))


def _parse(path: str, pairs: Pairs, *, strict: bool) -> _Asked:
    given = single(pairs, PARAMETERS)
    ignored = tuple(name for name, _ in pairs if name not in PARAMETERS and name not in _UNHEARD)
    if ignored and strict:
        raise UnknownParameter(ignored[0])
    kept = [pair for pair in pairs if pair[0] in PARAMETERS and pair[0] != PAGE]
    return _Asked(
        page=Page(path=path, query=urlencode(kept), count=count(given.get(COUNT, str(DEFAULT_COUNT))), ignored=ignored),
        types=frozenset(_types(given["_type"])) if "_type" in given else frozenset(),
        since=_since(given["_since"]) if "_since" in given else 0,
        token=given.get(PAGE),
    )


def _types(value: str) -> list[str]:
    names = value.split(",")
    if not all(name.isascii() and name.isalpha() for name in names):
        raise BadQuery("_type", "not a list of resource types")
    return names


def _since(value: str) -> int:
    found = stretch(value)
    if found is None:
        raise BadQuery("_since", "not an instant")
    return found[0]


def _rids(view: View, asked: _Asked, start: int) -> list[int]:
    """The page's rids, and one more where a further page follows: type by type, which is their order."""
    found = list[int]()
    for kind, rids in view.image.kinds.items():
        wanted = asked.page.count + 1 - len(found)
        if wanted > 0 and rids.stop > start and (not asked.types or kind in asked.types):
            rows = view.image.select(
                "SELECT rid FROM resource WHERE rid >= ? AND rid < ? AND updated >= ? ORDER BY rid LIMIT ?",
                (max(start, rids.start), rids.stop, asked.since, wanted),
            )
            found.extend(rid for (rid,) in rows)
    return found
