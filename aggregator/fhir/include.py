"""_include and _revinclude: what comes beside the matches. https://hl7.org/fhir/R4/search.html#revinclude

    _include=Observation:encounter            what an Observation refers to
    _include=Observation:subject:Patient      of that the Patients
    _revinclude=Provenance:target             what refers to a match
    _include:iterate=Encounter:part-of        the same of what was included, again and again
    *  in place of a parameter or of everything: every reference

Each resource comes once, none that is a match on the page, at most MOST on a page. What is not in the view does not
come: there is no other place to take it from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from aggregator.fhir.chain import targets
from aggregator.fhir.index import SearchIndex
from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.page import Pairs
from aggregator.fhir.parameters import Kind, Parameter, of_type
from aggregator.fhir.view import View, local_id
from aggregator.vault.image import Served
from aggregator.vault.meter import PARSED
from fhir_profiles.structure import RESOURCES
from fhir_profiles.text import peek

INCLUDE, REVINCLUDE = "_include", "_revinclude"
MOST = 1000
EVERY = "*"

_INDEX = SearchIndex()
_REFERRING = """
SELECT DISTINCT l.rid FROM json_each(?) w CROSS JOIN json_each(?) s
CROSS JOIN link l ON l.scope = s.value AND l.target = w.value ORDER BY l.rid LIMIT ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Include:
    """References to follow. source: the type that has them, EVERY for any; target: the type they name, "" for any.

    parameters: those of the source types. back: from what is referred to, to what refers. iterates: of what was
    included too.
    """

    source: str
    target: str
    parameters: tuple[Parameter, ...]
    back: bool
    iterates: bool

    def scopes(self, resource_type: str = EVERY) -> list[int]:
        """Where the index has the references, those of one type or of all."""
        own = (one for one in self.parameters if resource_type in (EVERY, one.resource_type))
        return sorted({scope for one in own for scope in one.scopes})

    def types(self) -> set[str]:
        """The types of what may come; EVERY where that may be any."""
        return {self.source} if self.back else {self.target or EVERY}


def parse(pairs: Pairs) -> tuple[Include, ...]:
    """Those among the parameters of a query. Raises BadQuery."""
    return tuple(_include(name, value) for name, value in pairs if is_one(name))


def is_one(name: str) -> bool:
    """Is this the name of an _include or _revinclude, with its modifier or without?"""
    return name.partition(":")[0] in (INCLUDE, REVINCLUDE)


def _include(name: str, value: str) -> Include:
    bare, _, modifier = name.partition(":")
    if modifier not in ("", "iterate"):
        raise BadQuery(name, "iterate is the only modifier")
    source, _, further = value.partition(":")
    wanted, _, target = further.partition(":")
    if source == EVERY and not further:
        wanted = EVERY
    parameters = tuple(_parameters(source, wanted, target))
    if not parameters or (target and target not in RESOURCES):
        raise BadQuery(name, "not Type:parameter, Type:parameter:Type, Type:* or *, of references")
    return Include(
        source=source,
        target=target or _only(parameters),
        parameters=parameters,
        back=bare == REVINCLUDE,
        iterates=bool(modifier),
    )


def _only(parameters: Sequence[Parameter]) -> str:
    """The one type whose references all of these count; "" where they are not so agreed."""
    counted = {one.only for one in parameters}
    return counted.pop() if len(counted) == 1 else ""


def _parameters(source: str, wanted: str, target: str = "") -> Iterator[Parameter]:
    types = sorted(RESOURCES) if source == EVERY else [source] if source in RESOURCES else []
    for resource_type in types:
        for one in of_type(resource_type).values():
            named = wanted in (EVERY, one.name) and (not target or one.only in ("", target))
            if one.kind is Kind.REFERENCE and named:
                yield one


def offered(resource_type: str) -> list[str]:
    """What `_include` may ask for of this type."""
    return [EVERY, *(f"{resource_type}:{one.name}" for one in _parameters(resource_type, EVERY))]


@cache
def offered_back(resource_type: str) -> list[str]:
    """What `_revinclude` may ask for: the references that name this type. Those that may name any are behind EVERY."""
    found = (one for one in _parameters(EVERY, EVERY) if resource_type in targets(one))
    return [EVERY, *(f"{one.resource_type}:{one.name}" for one in found)]


def closure(view: View, matches: Sequence[Served], includes: Sequence[Include]) -> tuple[list[Served], bool]:
    """What comes with these matches, in the order (type, id), and whether there was more than MOST of it."""
    walk = _Walk(view, {_rid(view, one) for one in matches})
    newest, asked = list(matches), includes
    while newest and not walk.full:
        newest = walk.further(newest, asked)
        asked = [one for one in includes if one.iterates]
    return view.image.served(sorted(walk.included)[:MOST]), walk.full


@dataclass(slots=True)
class _Walk:
    """From resources to those beside them. seen: matches and included ones, by rid."""

    view: View
    seen: set[int]
    included: list[int] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.included) > MOST

    def further(self, newest: Sequence[Served], includes: Iterable[Include]) -> list[Served]:
        """The ones that these lead to and that were not seen before."""
        self.view.image.meter.spend(len(newest) // PARSED)
        found = list[int]()
        for include in includes:
            for rid in (self._back if include.back else self._forth)(newest, include):
                if rid not in self.seen:
                    self.seen.add(rid)
                    found.append(rid)
        found = found[: MOST + 1 - len(self.included)]
        self.included += found
        return self.view.image.served(found)

    def _forth(self, newest: Sequence[Served], include: Include) -> Iterator[int]:
        """Their own bodies say what they refer to: they are at hand, and the index has no way back from a rid."""
        for one in newest:
            scopes = include.scopes(one.resource_type)
            links = _INDEX.rows(one.resource_type, peek(one.body)).links if scopes else ()
            for scope, target, whole in sorted(links):
                local = local_id(self.view, whole) if scope in scopes and include.target in ("", target) else None
                rid = self.view.image.find(target, local) if local else None
                if rid is not None:
                    yield rid

    def _back(self, newest: Sequence[Served], include: Include) -> Iterator[int]:
        named = [_rid(self.view, one) for one in newest if include.target in ("", one.resource_type)]
        rows = self.view.image.select(_REFERRING, [str(named), str(include.scopes()), len(self.seen) + MOST + 1])
        yield from (rid for (rid,) in rows)


def _rid(view: View, one: Served) -> int:
    rid = view.image.find(one.resource_type, one.local)
    assert rid is not None  # noqa: S101  # it was found in this image
    return rid
