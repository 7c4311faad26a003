"""What a package holds: the operator's map from PZN to ATC (http://fhir.de/CodeSystem/bfarm/atc).

A plan names a package by its number alone, and with a number it leaves the name out. The lists behind the numbers are
sold, not free, so none comes with this service; whoever has one gives the rows that are needed. Without a row a
medicine keeps the words that the plan has for it, and who reads it later may not know what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from connectors import operator_map
from fhir_profiles.build import Part, coding
from fhir_profiles.codes import ATC

_PZN_DIGITS = 8  # the plan drops leading zeros


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")
    pzn: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,8}$")]
    atc: Annotated[str, StringConstraints(pattern=r"^[A-Z][0-9]{2}([A-Z]([A-Z]([0-9]{2})?)?)?$")]
    display: str


@dataclass(frozen=True, slots=True)
class AtcMap:
    """meanings: whole PZN -> ATC code and its name."""

    meanings: Mapping[str, tuple[str, str]]

    def codings(self, number: str) -> list[Part]:
        """The ATC coding of a whole PZN; none where the map has no row for it."""
        known = self.meanings.get(number)
        return [coding(ATC, *known)] if known else []


def atc_map(path: Path | None) -> AtcMap:
    """The map in a file of [[product]] tables; an empty one without a file. Raises NeedsOperator."""
    rows = operator_map.rows("atc_map", path, "product", _Row)
    return AtcMap({whole_pzn(row.pzn): (row.atc, row.display) for row in rows})


def whole_pzn(told: str) -> str:
    """A Pharmazentralnummer with all its digits, or an empty text."""
    return told.zfill(_PZN_DIGITS) if told else ""
