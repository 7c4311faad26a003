"""search-type: a query on a view, answered as a searchset Bundle. https://hl7.org/fhir/R4/http.html#search.

One SELECT runs through the resources in their one order (id; see page.py) and stops when the page is full: it walks the
rows of the rarest condition and asks the index about the others, row by row. So a page costs what it holds, not what
the record holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from aggregator.fhir.bundle import Page, answer
from aggregator.fhir.page import Links, Pairs
from aggregator.fhir.query import Condition, Query, SpanTest, TermTest, parse
from aggregator.fhir.view import View, local_id
from aggregator.vault.image import Image

_Values = list[int | str]

_CONTAINED = "({low} >= ? AND {high} <= ?)"
_COMPARED: dict[str, tuple[str, tuple[str, ...]]] = {
    "eq": (_CONTAINED, ("low", "high")),
    "ne": (f"NOT {_CONTAINED}", ("low", "high")),
    "gt": ("{high} > ?", ("high",)),
    "ge": (f"({{high}} > ? OR {_CONTAINED})", ("high", "low", "high")),
    "lt": ("{low} < ?", ("low",)),
    "le": (f"({{low}} < ? OR {_CONTAINED})", ("low", "low", "high")),
    "sa": ("{low} >= ?", ("high",)),
    "eb": ("{high} <= ?", ("low",)),
}
"""How a resource's stretch must lie to the query's, and which ends of the query's fill the marks. High is excluded."""

_SPAN = {"low": "s.low", "high": "s.high"}
_UPDATED = {"low": "s.updated", "high": "s.updated + 1"}
_FEW = 8  # terms asked row by row; more are first gathered


@dataclass(frozen=True, slots=True)
class _Clause:
    """What a row r must satisfy. size: in how many rows of the index it can hold at most; terms: those rows' terms."""

    text: str
    values: _Values
    size: int
    terms: tuple[int, ...] = ()


def search(view: View, resource_type: str, pairs: Pairs, links: Links, *, strict: bool = False) -> bytes:
    """The Bundle that answers a search, one page of it.

    `total` is told when `_total=accurate` or `_summary=count` asks for it, or when one page holds all. strict is
    `Prefer: handling=strict`. Raises BadQuery.
    """
    query = parse(resource_type, pairs, base_url=links.base_url, strict=strict)
    start = links.after(view, resource_type, query.pairs, query.page) if query.page is not None else 0
    clauses = [_clause(view, condition) for condition in query.conditions]
    rids = _rids(view.image, query, clauses, start) if query.count else []
    return answer(
        view,
        links,
        Page(path=resource_type, pairs=query.pairs, count=query.count, ignored=query.ignored),
        rids,
        total=_total(view.image, query, clauses, len(rids)),
    )


def _total(image: Image, query: Query, clauses: Sequence[_Clause], found: int) -> int | None:
    """found: rids of this page, and one more where another follows."""
    if query.page is None and query.count and found <= query.count:
        return found
    if query.count and not query.total:
        return None
    text, values = _rows(image, query, clauses, 0)
    total: int = image.select(f"SELECT count(*) FROM {text}", values)[0][0]  # noqa: S608  # made of constants
    return total


def _rids(image: Image, query: Query, clauses: Sequence[_Clause], start: int) -> list[int]:
    """The page's rids, and one more where a further page follows."""
    text, values = _rows(image, query, clauses, start)
    statement = f"SELECT r.rid FROM {text} ORDER BY r.rid LIMIT ?"  # noqa: S608  # made of constants
    return [rid for (rid,) in image.select(statement, [*values, query.count + 1])]


def _rows(image: Image, query: Query, clauses: Sequence[_Clause], start: int) -> tuple[str, _Values]:
    """FROM and WHERE: the rows r that satisfy every clause, from this rid on."""
    rids = image.kinds.get(query.resource_type, range(0))
    within: _Values = [max(start, rids.start), rids.stop]
    rarest = min(clauses, key=lambda clause: clause.size, default=None)
    if rarest is not None and not rarest.size:
        within = [0, 0]
    if rarest is None or not rarest.terms or rarest.size >= len(rids):
        source, values, others = "resource r WHERE", list[int | str](), clauses
    else:
        source, values = _walked(rarest)
        others = [clause for clause in clauses if clause is not rarest]
    asked = "".join(f" AND {clause.text}" for clause in others)
    return f"{source} r.rid >= ? AND r.rid < ?{asked}", [*values, *within, *(v for c in others for v in c.values)]


def _walked(clause: _Clause) -> tuple[str, _Values]:
    if len(clause.terms) == 1:
        return "posting r WHERE r.tid = ? AND", [*clause.terms]
    marks = _marks(clause.terms)
    return f"(SELECT DISTINCT rid FROM posting WHERE tid IN ({marks})) r WHERE", [*clause.terms]  # noqa: S608  # marks alone


def _clause(view: View, condition: Condition) -> _Clause:
    image, parameter = view.image, condition.parameter
    if parameter.name == "_id":
        return _id_clause(view, parameter.resource_type, condition.ids)
    if condition.terms:
        return _term_clause(image, parameter.scope, condition.terms)
    if parameter.name == "_lastUpdated":
        compared, values = _compared(condition.spans, _UPDATED)
        text = f"EXISTS (SELECT 1 FROM resource s WHERE s.rid = r.rid AND ({compared}))"  # noqa: S608  # constants
        return _Clause(text, values, image.count())
    compared, values = _compared(condition.spans, _SPAN)
    text = f"EXISTS (SELECT 1 FROM span s WHERE s.scope = ? AND s.rid = r.rid AND ({compared}))"  # noqa: S608  # constants
    return _Clause(text, [parameter.scope, *values], image.count())


def _compared(tests: Sequence[SpanTest], columns: dict[str, str]) -> tuple[str, _Values]:
    texts, values = list[str](), _Values()
    for test in tests:
        text, ends = _COMPARED[test.prefix]
        texts.append(text.format_map(columns))
        values.extend(getattr(test, end) for end in ends)
    return " OR ".join(texts), values


def _id_clause(view: View, resource_type: str, ids: Iterable[str]) -> _Clause:
    locals_ = filter(None, (local_id(view, whole) for whole in ids))
    rids = [rid for local in locals_ if (rid := view.image.find(resource_type, local)) is not None]
    return _Clause(f"r.rid IN ({_marks(rids)})", [*rids], len(rids))


def _term_clause(image: Image, scope: int, tests: Iterable[TermTest]) -> _Clause:
    found = dict(row for test in tests for row in _terms(image, scope, test))
    terms, size = tuple(found), sum(found.values())
    marks = _marks(terms)
    if len(terms) <= _FEW:
        text = f"EXISTS (SELECT 1 FROM posting p WHERE p.tid IN ({marks}) AND p.rid = r.rid)"  # noqa: S608  # marks alone
    else:
        text = f"r.rid IN (SELECT rid FROM posting WHERE tid IN ({marks}))"  # noqa: S608  # marks alone
    return _Clause(text, [*terms], size, terms)


def _terms(image: Image, scope: int, test: TermTest) -> Iterator[tuple[int, int]]:
    """Number and size of each term that passes."""
    text, values = "SELECT tid, size FROM term WHERE scope = ?", list[int | str]([scope])
    if test.text is not None:
        text, values = _text_test(text, values, test.text, begins=test.begins)
    if test.system is not None:
        text, values = f"{text} AND system = ?", [*values, test.system]
    yield from image.select(text, values)


def _text_test(text: str, values: _Values, wanted: str, *, begins: bool) -> tuple[str, _Values]:
    if begins:  # U+10FFFF is no character, so nothing that begins so lies behind it
        return f"{text} AND text BETWEEN ? AND ?", [*values, wanted, f"{wanted}\U0010ffff"]
    return f"{text} AND text = ?", [*values, wanted]


def _marks(values: Sequence[int]) -> str:
    return ", ".join("?" * len(values))
