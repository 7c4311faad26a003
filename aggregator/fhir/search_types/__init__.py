"""The types of search parameters, each in a file: what rows its values give, what is asked, and of which rows.

https://hl7.org/fhir/R4/search.html#ptypes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aggregator.fhir.asked import Asked
from aggregator.fhir.clause import Condition
from aggregator.fhir.parameters import COLUMNS, Kind, Parameter
from aggregator.fhir.paths import Enter
from aggregator.fhir.search_types import (
    composite,
    date,
    number,
    own_id,
    quantity,
    reference,
    special,
    string,
    token,
    uri,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchType:
    """rows: by datatype. parse raises BadQuery. modifiers: those that it takes, but for a reference's types."""

    parse: Callable[[Asked], Condition]
    rows: Mapping[str, Enter] = field(default_factory=dict)
    modifiers: tuple[str, ...] = ()


def modifiers(parameter: Parameter) -> tuple[str, ...]:
    """What a parameter takes behind its name."""
    return TYPES[parameter.kind].modifiers if parameter.name not in COLUMNS else ("missing",)


def understood(asked: Asked) -> Condition:
    """What a parameter of any type asks for."""
    own = OWN.get(asked.parameter.name)
    return own(asked) if own else TYPES[asked.parameter.kind].parse(asked)


def _composite(asked: Asked) -> Condition:
    return composite.parse(asked, understood)


TYPES: Mapping[Kind, SearchType] = {
    Kind.TOKEN: SearchType(parse=token.parse, rows=token.ROWS, modifiers=("missing", "not", "text", "of-type")),
    Kind.REFERENCE: SearchType(parse=reference.parse, rows=reference.ROWS, modifiers=("missing", "identifier")),
    Kind.STRING: SearchType(parse=string.parse, rows=string.ROWS, modifiers=("missing", "exact", "contains")),
    Kind.DATE: SearchType(parse=date.parse, rows=date.ROWS, modifiers=("missing",)),
    Kind.NUMBER: SearchType(parse=number.parse, rows=number.ROWS, modifiers=("missing",)),
    Kind.QUANTITY: SearchType(parse=quantity.parse, rows=quantity.ROWS, modifiers=("missing",)),
    Kind.URI: SearchType(parse=uri.parse, rows=uri.ROWS, modifiers=("missing", "above", "below")),
    Kind.COMPOSITE: SearchType(parse=_composite),
    Kind.SPECIAL: SearchType(parse=special.parse, rows=special.ROWS, modifiers=("missing",)),
}

OWN: Mapping[str, Callable[[Asked], Condition]] = {"_id": own_id.parse, "_lastUpdated": date.parse_updated}
"""Those of `COLUMNS`."""
