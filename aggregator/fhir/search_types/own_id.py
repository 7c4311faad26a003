"""_id: the resource's own. https://hl7.org/fhir/R4/search.html#all."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aggregator.fhir.asked import Asked
from aggregator.fhir.clause import Clause, Condition, among
from aggregator.fhir.view import View, local_id

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """The resource's id is one of these."""

    name: str
    resource_type: str
    ids: tuple[str, ...]

    @property
    def alternatives(self) -> int:
        """Each id is one."""
        return len(self.ids)

    def clause(self, view: View) -> Clause:
        """Ids are no column: the places they stand at are known."""
        found = (view.image.find(self.resource_type, local) for whole in self.ids if (local := local_id(view, whole)))
        rids = [rid for rid in found if rid is not None]
        return among("resource", "rid", rids, len(rids))


def parse(asked: Asked) -> Condition:
    """Ids."""
    if not all(map(_ID.fullmatch, asked.values)):
        raise asked.bad("not an id")
    return Ids(name=asked.name, resource_type=asked.parameter.resource_type, ids=asked.values)
