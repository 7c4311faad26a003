""":missing, whether there is anything at all. https://hl7.org/fhir/R4/search.html#modifiers."""

from __future__ import annotations

from dataclasses import dataclass

from aggregator.fhir.asked import Asked
from aggregator.fhir.clause import Clause, Condition, Not, either, scoped
from aggregator.fhir.parameters import COLUMNS, PRESENT, SPANS, Kind, Parameter
from aggregator.fhir.view import View

_CHOICES = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The resource has a value of this parameter, be it one that cannot be searched."""

    name: str
    parameter: Parameter

    @property
    def alternatives(self) -> int:
        """There is one."""
        return 1

    def clause(self, view: View) -> Clause:
        """In each table that holds rows of this kind."""
        kind, scopes = self.parameter.kind, self.parameter.scopes
        size = view.image.count(self.parameter.resource_type)
        if self.parameter.name in COLUMNS:  # which every resource has
            return Clause(table="resource", holds="TRUE", values=[], size=size, distinct=True)
        if only := self.parameter.only:
            return either([_linked(view, scopes, only, size), _termed(scopes, size, only)])
        found = [_termed((*scopes, *(scope + PRESENT for scope in scopes)), size)]
        if kind in SPANS or kind is Kind.SPECIAL:
            found.append(Clause(table="span", holds=scoped(scopes), values=[], size=size))
        if kind is Kind.REFERENCE:
            found.append(Clause(table="link", holds=scoped(scopes), values=[], size=size, many=True))
        return either(found)


def _termed(scopes: tuple[int, ...], size: int, only: str = "") -> Clause:
    among = f"SELECT t.tid FROM term t WHERE {scoped(scopes)}".format(row="t")  # noqa: S608  # a template of our own
    holds = f"{{row}}.tid IN ({among} AND t.system = ?)" if only else f"{{row}}.tid IN ({among})"
    return Clause(table="posting", holds=holds, values=[only] if only else [], size=size, many=True)


def _linked(view: View, scopes: tuple[int, ...], only: str, size: int) -> Clause:
    """A link to a resource of one type: those lie together."""
    rids = view.image.kinds.get(only, range(0))
    holds = f"{scoped(scopes)} AND {{row}}.target >= ? AND {{row}}.target < ?"
    return Clause(table="link", holds=holds, values=[rids.start, rids.stop], size=size, many=True)


def parse(asked: Asked) -> Condition:
    """`true` or `false`."""
    missing = _CHOICES.get(asked.values[0]) if len(asked.values) == 1 else None
    if missing is None:
        raise asked.bad("neither true nor false")
    present = Present(name=asked.name, parameter=asked.parameter)
    return Not(present) if missing else present
