"""The rows by which an image is searched: terms and where they are posted, links between resources, spans with units.

An indexer says what a resource's are; here they get their places, and a reference to a resource of the same image
becomes a link to its place: nothing of it is text, and what refers to a resource is found without reading any.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from fhir_profiles.text import peek

Term = tuple[int, str, str]
"""scope, system, text: a token, a string or a URI. A scope is the indexer's number of what lies at one place."""
Link = tuple[int, str, str]
"""scope, type, whole id: a reference. It becomes a link to a resource of this image, or a term where there is none."""


class Unit(NamedTuple):
    """What a number counts: system and code, and the text where it is another than the code; each may be empty."""

    system: str
    code: str
    text: str


Span = tuple[int, float, float, Unit | None]
"""scope, low, high, unit: a stretch of time (milliseconds since 1970 UTC, high excluded), of numbers, or a position."""

PART_BITS = 20  # an element's rows have, in place of a rid, the rid and behind it this many bits of its number

SCHEMA = """
CREATE TABLE term (scope INT, text TEXT, system TEXT, tid INT, size INT, PRIMARY KEY (scope, text, system))
    WITHOUT ROWID;
CREATE TABLE posting (tid INT, rid INT, PRIMARY KEY (tid, rid)) WITHOUT ROWID;
CREATE TABLE link (scope INT, target INT, rid INT, PRIMARY KEY (scope, target, rid)) WITHOUT ROWID;
CREATE TABLE span (scope INT, rid INT, low INT, high INT, unit INT, PRIMARY KEY (scope, rid, low, high, unit))
    WITHOUT ROWID;
CREATE TABLE unit (number INTEGER PRIMARY KEY, system TEXT, code TEXT, text TEXT);
"""


@dataclass(frozen=True, slots=True)
class Rows:
    """What is searched in a resource. parts: of elements whose values belong together, each by its number."""

    terms: set[Term] = field(default_factory=set)
    links: set[Link] = field(default_factory=set)
    spans: set[Span] = field(default_factory=set)
    parts: dict[int, Rows] = field(default_factory=dict)


class Frame(NamedTuple):
    """What stands around a body among its neighbours. before: of (type, local id)."""

    before: Callable[[str, str], bytes]
    behind: bytes


BARE = Frame(lambda _type, _local: b"", b"")


class Indexer(Protocol):
    """What an image holds beside a body. `version` is another whenever `rows` or `frame` would give something else."""

    @property
    def version(self) -> int:
        """Between 0 and 2**32 - 1."""

    def rows(self, resource_type: str, resource: Mapping[str, Any]) -> Rows:
        """What is searched in a resource. Never raises for its content."""

    def frame(self, vault: str) -> Frame:
        """What stands around a body of this vault's in an answer that shows many."""


def insert(connection: sqlite3.Connection, resources: Iterable[tuple[str, bytes]], indexer: Indexer) -> None:
    """The rows of these resources, by type and body, numbered from 1 in this order.

    They go in by their keys' order, which fills the pages whole.
    """
    gathered, rids = _Gathered(), dict[tuple[str, str], int]()
    for rid, (resource_type, body) in enumerate(resources, 1):
        resource = peek(body)
        rids[resource_type, resource.get("id", "")] = rid
        rows = indexer.rows(resource_type, resource)
        gathered.add(rid, rows)
        for number, part in rows.parts.items():
            gathered.add(rid << PART_BITS | number, part)
    links = sorted(gathered.resolved(rids))
    terms_in_order = sorted((scope, text, system) for scope, system, text in gathered.postings)
    numbered = [
        (tid, scope, text, system, sorted(gathered.postings[scope, system, text]))
        for tid, (scope, text, system) in enumerate(terms_in_order, 1)
    ]
    connection.executemany(
        "INSERT INTO term VALUES (?, ?, ?, ?, ?)",
        ((scope, text, system, tid, len(found)) for tid, scope, text, system, found in numbered),
    )
    connection.executemany(
        "INSERT INTO posting VALUES (?, ?)", ((tid, rid) for tid, *_, found in numbered for rid in found)
    )
    connection.executemany("INSERT INTO link VALUES (?, ?, ?)", links)
    connection.executemany("INSERT INTO span VALUES (?, ?, ?, ?, ?)", sorted(gathered.spans))
    units = ((number, *unit) for unit, number in gathered.units.items())
    connection.executemany("INSERT INTO unit VALUES (?, ?, ?, ?)", units)


@dataclass(frozen=True, slots=True)
class _Gathered:
    """The rows of all resources, each with its rid, or the place of a part."""

    postings: dict[Term, list[int]] = field(default_factory=dict)
    links: dict[Link, list[int]] = field(default_factory=dict)
    spans: list[tuple[int, int, float, float, int]] = field(default_factory=list)
    units: dict[Unit, int] = field(default_factory=dict)

    def add(self, rid: int, rows: Rows) -> None:
        for term in rows.terms:
            self.postings.setdefault(term, []).append(rid)
        for link in rows.links:
            self.links.setdefault(link, []).append(rid)
        for scope, low, high, unit in rows.spans:
            number = self.units.setdefault(unit, len(self.units) + 1) if unit else 0
            self.spans.append((scope, rid, low, high, number))

    def resolved(self, rids: Mapping[tuple[str, str], int]) -> Iterator[tuple[int, int, int]]:
        """The links to what is in the image, as rows; the others become terms."""
        for (scope, resource_type, text), found in self.links.items():
            target = rids.get((resource_type, text))
            if target is None:
                self.postings.setdefault((scope, resource_type, text), []).extend(found)
            else:
                yield from ((scope, target, rid) for rid in found)
