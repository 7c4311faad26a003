"""special: `near`, how far a Location is. https://hl7.org/fhir/R4/location.html#search.

A position is a span from its latitude to its longitude. A view holds few Locations, so each is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import asin, cos, radians, sin, sqrt
from typing import Any

from aggregator.fhir.asked import Asked, plain
from aggregator.fhir.clause import Clause, Condition, among, scoped
from aggregator.fhir.paths import Enter, Leaf
from aggregator.fhir.search_types.number import ends, real
from aggregator.fhir.view import View
from aggregator.vault.index_rows import Rows

_EARTH = 6371.0  # kilometres
_UNITS = {"km": 1.0, "m": 0.001, "[mi_us]": 1.609347}
_DEFAULT = ("20", "km")

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """The resource's position is within so many kilometres of one of these points."""

    name: str
    scopes: tuple[int, ...]
    circles: tuple[tuple[Point, float], ...]

    @property
    def alternatives(self) -> int:
        """Each point is one."""
        return len(self.circles)

    def clause(self, view: View) -> Clause:
        """The resources that were measured to be."""
        statement = f"SELECT t.rid, t.low, t.high FROM span t WHERE {scoped(self.scopes)}"  # noqa: S608  # our own
        rids = [
            rid
            for rid, *point in view.image.select(statement.format(row="t"))
            if any(_distance((point[0], point[1]), centre) <= far for centre, far in self.circles)
        ]
        return among("resource", "rid", rids, len(rids))


def parse(asked: Asked) -> Condition:
    """`latitude|longitude`, with `|distance` and `|unit` (km, m or [mi_us]); 20 km where none is said."""
    return Near(
        name=asked.name,
        scopes=asked.parameter.scopes,
        circles=tuple(_circle(asked, plain(value)) for value in asked.values),
    )


def _circle(asked: Asked, value: str) -> tuple[Point, float]:
    latitude, longitude, distance, unit = [*value.split("|"), *_DEFAULT[max(0, value.count("|") - 1) :], *"    "][:4]
    if not 1 <= value.count("|") <= 3 or unit not in _UNITS:
        raise asked.bad("not latitude|longitude|distance|unit, the unit km, m or [mi_us]")
    north, east, far = (float(ends(asked, text)["value"]) for text in (latitude, longitude, distance))
    return (north, east), far * _UNITS[unit]


def _distance(one: Point, other: Point) -> float:
    """Along the surface of a sphere, in kilometres. https://en.wikipedia.org/wiki/Haversine_formula."""
    (north, east), (north_too, east_too) = (tuple(map(radians, point)) for point in (one, other))
    height = sin((north_too - north) / 2) ** 2
    width = cos(north) * cos(north_too) * sin((east_too - east) / 2) ** 2
    return 2 * _EARTH * asin(sqrt(min(1.0, height + width)))


def _position(value: Any, _: Leaf, scope: int, into: Rows) -> bool:
    found = [real(value.get(name)) for name in ("latitude", "longitude")] if isinstance(value, dict) else [None]
    latitude, longitude = (*found, None)[:2]
    if latitude is None or longitude is None:
        return False
    into.spans.add((scope, latitude, longitude, None))
    return True


ROWS: Mapping[str, Enter] = {"Location.position": _position}
