"""What of a resource is searched: its values for each search parameter, as the rows an image holds.

https://hl7.org/fhir/R4/search.html. Tokens, references and strings become terms, dates become spans:

    token      system, code        CodeableConcept, Coding, Identifier; a code has the system that its binding implies
    reference  type, id            an absolute URL: "" and the URL
    string     "", folded text     without case and accents, so that a search for its beginning finds it
    date       low, high           the stretch that its precision means, or the Period's

Extraction is compiled once from the table of parameters: a resource is walked by its own type's parameters alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from aggregator.fhir.parameters import Element, Kind, indexed
from aggregator.vault.image import Span, Term
from fhir_profiles.dates import EVER, stretch

Pair = tuple[str, str]
_Finder = Callable[[Mapping[str, Any]], Iterable[Any]]
_Rows = Callable[[Any, str], Iterable[tuple[Any, Any]]]
_Extractor = tuple[int, bool, _Finder, _Rows, str]


class SearchIndex:
    """The indexer of an image, for the parameters of `search_parameters.tsv`."""

    version: Final = 1
    """Rises with every change of the table, of its order, of a datatype's rows or of the zone of dates."""

    def __init__(self) -> None:
        self._extractors = dict[str, list[_Extractor]]()
        for parameter in indexed():
            made = self._extractors.setdefault(parameter.resource_type, [])
            made.extend(_extractor(parameter.scope, parameter.kind, element) for element in parameter.elements)

    def rows(self, resource_type: str, resource: Mapping[str, Any]) -> tuple[set[Term], set[Span]]:
        """The terms and spans of a resource. What is not of its datatype's shape gives no row."""
        terms, spans = set[Term](), set[Span]()
        for scope, is_date, find, pairs, detail in self._extractors.get(resource_type, ()):
            into: set[Any] = spans if is_date else terms
            for value in find(resource):
                for one, other in pairs(value, detail):
                    into.add((scope, one, other))
        return terms, spans


def fold(text: str) -> str:
    """A string as searches compare it: https://hl7.org/fhir/R4/search.html#string."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def reference_term(reference: str) -> Pair:
    """Type and id of a relative reference, whatever its version; an absolute URL stays whole."""
    parts = reference.split("/")
    if len(parts) == 4 and parts[2] == "_history":
        parts = parts[:2]
    return (parts[0], parts[1]) if len(parts) == 2 and all(parts) else ("", reference)


def _extractor(scope: int, kind: Kind, element: Element) -> _Extractor:
    return scope, kind is Kind.DATE, _finder(element.path), _ROWS[kind, element.datatype], element.detail


def _finder(path: tuple[str, ...]) -> _Finder:
    """Gives the values at a path, through lists."""
    head, *rest = path

    def here(node: Mapping[str, Any]) -> Iterable[Any]:
        value = node.get(head)
        return () if value is None else value if isinstance(value, list) else (value,)

    if not rest:
        return here
    deeper = _finder(tuple(rest))

    def below(node: Mapping[str, Any]) -> Iterator[Any]:
        for child in here(node):
            if isinstance(child, dict):
                yield from deeper(child)

    return below


def _code(value: Any, implied_system: str) -> Iterable[Pair]:
    return ((implied_system, value),) if isinstance(value, str) else ()


def _coding(value: Any, _: str) -> Iterable[Pair]:
    return _pair(value, "system", "code")


def _identifier(value: Any, _: str) -> Iterable[Pair]:
    return _pair(value, "system", "value")


def _concept(value: Any, _: str) -> Iterable[Pair]:
    codings = value.get("coding") if isinstance(value, dict) else None
    return [pair for coding in codings for pair in _pair(coding, "system", "code")] if isinstance(codings, list) else ()


def _pair(value: Any, system: str, text: str) -> Iterable[Pair]:
    found = value.get(text) if isinstance(value, dict) else None
    if not isinstance(found, str):
        return ()
    named = value.get(system)
    return ((named if isinstance(named, str) else "", found),)


def _reference(value: Any, only_type: str) -> Iterable[Pair]:
    text = value.get("reference") if isinstance(value, dict) else None
    if not isinstance(text, str) or text.startswith("#"):  # what is contained is found by no id
        return ()
    term = reference_term(text)
    return (term,) if not only_type or term[0] == only_type else ()


def _string(value: Any, _: str) -> Iterable[Pair]:
    return (("", fold(value)),) if isinstance(value, str) else ()


def _human_name(value: Any, _: str) -> Iterable[Pair]:
    if not isinstance(value, dict):
        return ()
    texts = [value.get("family"), value.get("text")]
    for name in ("given", "prefix", "suffix"):
        parts = value.get(name)
        texts.extend(parts if isinstance(parts, list) else ())
    return [("", fold(text)) for text in texts if isinstance(text, str)]


def _date(value: Any, _: str) -> Iterable[tuple[int, int]]:
    found = stretch(value) if isinstance(value, str) else None
    return () if found is None else (found,)


def _period(value: Any, _: str) -> Iterable[tuple[int, int]]:
    """An end left open reaches for ever; a Period with neither is none."""
    if not isinstance(value, dict):
        return ()
    ends = [[*_date(value.get(name), "")] for name in ("start", "end")]
    if not any(ends):
        return ()
    low, high = ends[0][0][0] if ends[0] else EVER[0], ends[1][0][1] if ends[1] else EVER[1]
    return ((low, high),) if low < high else ()


def _timing(value: Any, _: str) -> Iterable[tuple[int, int]]:
    """From the first event to the last, with the bounds of the repetition."""
    if not isinstance(value, dict):
        return ()
    events, repeat = value.get("event"), value.get("repeat")
    found = [span for event in (events if isinstance(events, list) else ()) for span in _date(event, "")]
    found.extend(_period(repeat.get("boundsPeriod"), "") if isinstance(repeat, dict) else ())
    return ((min(low for low, _ in found), max(high for _, high in found)),) if found else ()


_ROWS: dict[tuple[Kind, str], _Rows] = {
    (Kind.TOKEN, "code"): _code,
    (Kind.TOKEN, "Coding"): _coding,
    (Kind.TOKEN, "CodeableConcept"): _concept,
    (Kind.TOKEN, "Identifier"): _identifier,
    (Kind.REFERENCE, "Reference"): _reference,
    (Kind.STRING, "string"): _string,
    (Kind.STRING, "HumanName"): _human_name,
    (Kind.DATE, "dateTime"): _date,
    (Kind.DATE, "instant"): _date,
    (Kind.DATE, "Period"): _period,
    (Kind.DATE, "Timing"): _timing,
}
