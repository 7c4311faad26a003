"""Pages of a long answer: how many resources each holds, and the links from one to the next.

https://hl7.org/fhir/R4/http.html#paging. Every list is in the order (resource type, id), or of sort keys before that,
and a page link holds the last place that was shown, not a number of resources. So with data that came meanwhile the
next page goes on at the right place: what stays in the record as it is, is shown once, whatever is written before or
behind it. The link is sealed by the caller's functions and bound to the vault and to the whole query, so it opens
nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import orjson

from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.view import View
from aggregator.vault.image import Served

PAGE = "_page"
COUNT = "_count"
DEFAULT_COUNT = 50
MOST = 500  # a larger _count is answered in pages of this size

Pairs = Sequence[tuple[str, str]]
"""A query's parameters, percent-decoded, in the order they came."""


Value = int | float | str | None
"""Of a resource, what an order compares; None: it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a page begins: behind these values, and among what has them at this rid."""

    rid: int = 0
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """How an answer makes URLs.

    base_url: of the FHIR service, without a slash at the end.
    seal, unseal: turn a page's place into opaque URL-safe text and back; unseal raises ValueError for any other text.
    beyond: where an answer goes on behind its last page, when it runs over several records.
    partial: the answer is about one of several records, so its own total would not be the answer's.
    """

    base_url: str
    seal: Callable[[bytes], str]
    unseal: Callable[[str], bytes]
    beyond: str | None = None
    partial: bool = False

    def url(self, path: str, query: str) -> str:
        """The URL of a query, which is encoded already. path: below the service's own, "" for that itself."""
        url = f"{self.base_url}/{path}" if path else self.base_url
        return f"{url}?{query}" if query else url

    def next(self, view: View, path: str, query: str, last: Served, values: Sequence[Value] = ()) -> str:
        """The URL of the page behind this record, and behind these values of it where they make the order."""
        place = orjson.dumps([last.resource_type, last.local, *values])
        page = f"{PAGE}={self.seal(_query_hash(view, path, query) + place)}"
        return self.url(path, f"{query}&{page}" if query else page)

    def after(self, view: View, path: str, query: str, token: str) -> int:
        """The rid at which the page of this token begins. Raises BadQuery for a token of another query or none."""
        return self.place(view, path, query, token).rid

    def place(self, view: View, path: str, query: str, token: str) -> Place:
        """The same, with the values behind which it begins."""
        try:
            opened = self.unseal(token)
        except ValueError:
            raise BadQuery(PAGE, "not a page link of this service") from None
        expected = _query_hash(view, path, query)
        if not opened.startswith(expected):
            raise BadQuery(PAGE, "a page link of another query")
        resource_type, local, *values = orjson.loads(opened[len(expected) :])
        return Place(rid=view.image.after(resource_type, local), values=tuple(values))


def single(pairs: Pairs, names: Collection[str]) -> dict[str, str]:
    """The values of those parameters among these names that are given. Raises BadQuery for one given twice."""
    found = dict[str, str]()
    for name, value in pairs:
        if name in found:
            raise BadQuery(name, "given twice")
        if name in names:
            found[name] = value
    return found


def count(value: str) -> int:
    """The resources on a page: what `_count` asks for, at most MOST. Raises BadQuery."""
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise BadQuery(COUNT, "not a number of resources")
    return min(int(value), MOST)


def _query_hash(view: View, path: str, query: str) -> bytes:
    text = f"{view.vault}\n{path}?{query}"
    return hashlib.sha256(text.encode()).digest()[:16]
