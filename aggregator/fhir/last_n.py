"""Observation/$lastn: the newest observations of each code. https://hl7.org/fhir/R4/observation-operation-lastn.html.

Which observations are looked at is a search like any other. They are grouped by their code: whatever share a coding,
directly or through others, are of one group (a laboratory's own code and LOINC beside it, then LOINC alone), and
without a coding those whose text is the same but for case and space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from urllib.parse import urlencode

from aggregator.fhir import page, query, results
from aggregator.fhir.bundle import Answer, Page, answer
from aggregator.fhir.clause import scoped
from aggregator.fhir.folding import fold
from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.page import Links, Pairs
from aggregator.fhir.parameters import parameter
from aggregator.fhir.plan import plan
from aggregator.fhir.view import View
from aggregator.vault.image import Served
from aggregator.vault.meter import PARSED
from fhir_profiles.text import peek

TYPE = "Observation"
MAX = "max"
MOST = 100
_PATH = f"{TYPE}/$lastn"
_UNDATED = -(2**62)
_ENDS = """
SELECT r.local, max(s.high) FROM span s CROSS JOIN resource r ON r.rid = s.rid WHERE {scoped} GROUP BY s.rid
"""
_CODES = """
SELECT r.local, t.system, t.text
FROM term t CROSS JOIN posting p ON p.tid = t.tid CROSS JOIN resource r ON r.rid = p.rid WHERE {scoped}
"""

_TEXT, _ALONE = "text", "id"  # no code system is called so: a system is an absolute URI
_Key = tuple[str, str]
Dated = tuple[int, Served]
"""(until when it was, in milliseconds; the resource)."""


def last_n(view: View, pairs: Pairs, links: Links, *, strict: bool = False) -> Answer:
    """A searchset Bundle with the `max` newest (default 1) of each group, newest first; groups by their newest.

    What is as old as the last one of its group comes as well. It answers in one Bundle, so no other parameter about
    results is taken. Raises BadQuery.
    """
    given = page.single(pairs, (MAX,))
    if refused := [name for name, _ in pairs if results.is_one(name)]:
        raise BadQuery(min(refused), "$lastn answers in one Bundle and takes max alone")
    asked = [pair for pair in pairs if pair[0] != MAX]
    _require(asked)
    understood = query.parse((TYPE,), asked, base_url=links.base_url, strict=strict)
    rids = view.image.kinds.get(TYPE, range(0))
    found = plan(view, TYPE, understood.conditions[TYPE]).page(view.image, rids.start, len(rids))
    most = _most(given.get(MAX, "1"))
    shown = [one for group in grouped(view, TYPE, dated(view, TYPE, found)) for one in _newest(group, most)]
    kept = [pair for pair in pairs if pair[0] not in understood.ignored]
    told = Page(path=_PATH, query=urlencode(kept), count=len(shown), ignored=understood.ignored)
    return answer(view, links, told, shown, total=len(shown))


def _require(asked: Pairs) -> None:
    """A subject, and a category or a code: by the specification a query without them is none."""
    names = {name.partition(":")[0] for name, _ in asked}
    if not names & {"patient", "subject"}:
        raise BadQuery("patient", "$lastn needs patient or subject")
    if not any(name == "category" or "code" in name for name in names):
        raise BadQuery("code", "$lastn needs category or code")


def _most(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 9 and int(value)):
        raise BadQuery(MAX, "not a positive number")
    return min(int(value), MOST)


def dated(view: View, resource_type: str, found: Sequence[Served]) -> list[Dated]:
    """Newest first; of what is equally new, in the order it came; last of all what has no date."""
    date = parameter(resource_type, "date")
    ends: dict[str, int] = (
        dict(view.image.select(_ENDS.format(scoped=scoped(date.scopes).format(row="s")))) if date else {}
    )
    return sorted(((ends.get(one.local, _UNDATED), one) for one in found), key=lambda one: -one[0])


def grouped(view: View, resource_type: str, found: Sequence[Dated]) -> list[list[Dated]]:
    """By code; groups and their members as they came. Keys that one resource has are one key from then on."""
    same = dict[_Key, _Key]()

    def first(key: _Key) -> _Key:
        while (earlier := same.setdefault(key, key)) != key:
            key = earlier
        return key

    keys = _keys(view, resource_type, [one for _, one in found])
    for main, *others in keys:
        for other in others:
            same[first(other)] = first(main)
    groups = dict[_Key, list[Dated]]()
    for one, (main, *_) in zip(found, keys, strict=True):
        groups.setdefault(first(main), []).append(one)
    return list(groups.values())


def _keys(view: View, resource_type: str, found: Sequence[Served]) -> list[list[_Key]]:
    """Of each the codings of its code, which the index has; else its text, else the resource alone."""
    code, coded = parameter(resource_type, "code"), dict[str, list[_Key]]()
    for local, *key in view.image.select(_CODES.format(scoped=scoped(code.scopes if code else ()).format(row="t"))):
        coded.setdefault(local, []).append((key[0], key[1]))
    view.image.meter.spend(sum(one.local not in coded for one in found) // PARSED)
    return [coded.get(one.local) or [_words(one)] for one in found]


def _words(one: Served) -> _Key:
    text = peek(one.body).get("code", {}).get("text")
    return (_ALONE, one.local) if text is None else (_TEXT, fold(" ".join(text.split())))


def _newest(group: Sequence[Dated], most: int) -> Iterator[Served]:
    last = group[min(most, len(group)) - 1][0]
    return (one for _, one in takewhile(lambda found: found[0] >= last, group))
