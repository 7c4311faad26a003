"""composite: values that belong together. https://hl7.org/fhir/R4/search.html#composite.

Where they belong to the resource itself, its own rows are asked. Those of an element of which there may be several
(`Observation.component`) have rows of their own, whose place is the resource's and the element's number (`image.part`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from aggregator.fhir.asked import Asked
from aggregator.fhir.clause import Clause, Condition, either
from aggregator.fhir.view import View
from aggregator.vault.index_rows import PART_BITS

_PART = re.compile(r"(?:[^\\$]|\\.)+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Together:
    """These conditions hold of one thing. nested: of an element, else of the resource."""

    conditions: tuple[Condition, ...]
    nested: bool

    def clause(self, view: View) -> Clause:
        """The first condition's rows, of which the others hold as well."""
        first, *others = [one.clause(view) for one in self.conditions]
        rid = f"t.rid >> {PART_BITS}" if self.nested else "t.rid"
        holds = " AND ".join([first.holds, *(other.asked() for other in others)]).format(row="t")
        return Clause(
            table="resource",
            holds=f"{{row}}.rid IN (SELECT {rid} FROM {first.table} t WHERE {holds})",  # noqa: S608  # our own
            values=[*first.values, *(value for other in others for value in other.values)],
            size=first.size,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """One of these combinations is in the resource."""

    name: str
    tuples: tuple[Together, ...]

    @property
    def alternatives(self) -> int:
        """Each condition of each combination is one."""
        return sum(one.alternatives for found in self.tuples for one in found.conditions)

    def clause(self, view: View) -> Clause:
        """All combinations' clauses."""
        return either([found.clause(view) for found in self.tuples])


def parse(asked: Asked, understood: Callable[[Asked], Condition]) -> Condition:
    """One value for each component, with `$` between them. understood: what parses a component."""
    return Composite(name=asked.name, tuples=tuple(_tuples(asked, understood)))


def _tuples(asked: Asked, understood: Callable[[Asked], Condition]) -> Iterator[Together]:
    for value in asked.values:
        parts = _PART.findall(value)
        for components in asked.parameter.groups:
            if len(parts) != len(components):
                raise asked.bad(f"not {len(components)} values with $ between them")
            each = (
                replace(asked, parameter=component, values=(part,))
                for component, part in zip(components, parts, strict=True)
            )
            nested = any(place.nested for component in components for place in component.places)
            yield Together(tuple(map(understood, each)), nested)
