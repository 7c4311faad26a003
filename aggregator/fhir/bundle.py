"""A searchset Bundle, put together from stored bytes: no resource is parsed or printed again.

https://hl7.org/fhir/R4/bundle.html#searchset
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.fhir.outcome import Issue, ignored_parameters, operation_outcome
from aggregator.fhir.page import Links, Value
from aggregator.fhir.view import View
from aggregator.vault.image import Served
from fhir_profiles.text import dumps


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What was asked for: path and query (encoded) make its URL, count is the most it holds, ignored was not known."""

    path: str
    query: str
    count: int
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent, how many resources of the record it shows (for the receipt), and of how many in all."""

    body: bytes
    shown: int
    total: int | None = None


def counted(url: str, total: int | None) -> bytes:
    """The Bundle that shows none, and says how many there are where that is known."""
    told = {} if total is None else {"total": total}
    links = [{"relation": "self", "url": url}]
    return dumps({"resourceType": "Bundle", "type": "searchset", **told, "link": links})


def answer(
    view: View,
    links: Links,
    page: Page,
    found: Sequence[Served],
    *,
    total: int | None = None,
    values: Sequence[Value] = (),
    included: Sequence[Served] = (),
    issues: Sequence[Issue] = (),
) -> Answer:
    """The Bundle of one page.

    found: the page's, and one more where another page follows. total: of the whole search, where it is to be told.
    values: the last one's, where they make the order. included: what comes beside them; issues: what else is said.
    """
    records = found[: page.count]
    urls = [{"relation": "self", "url": links.url(page.path, page.query)}]
    if records and len(found) > page.count:
        urls.append({"relation": "next", "url": links.next(view, page.path, page.query, records[-1], values)})
    elif links.beyond is not None:
        urls.append({"relation": "next", "url": links.beyond})
    entries = _entries(view, links.base_url, records, b"match")
    if included:
        entries += _entries(view, links.base_url, included, b"include")
    if said := [*ignored_parameters(page.ignored), *issues]:
        entries.append(b'{"resource":' + dumps(operation_outcome(said)) + b',"search":{"mode":"outcome"}}')
    told = b"" if total is None else b',"total":%d' % total
    head = b'{"resourceType":"Bundle","type":"searchset"%b,"link":%b' % (told, dumps(urls))
    if entries:  # joined once: everything is a megabyte
        entries[0] = head + b',"entry":[' + entries[0]
        entries[-1] += b"]}"
    return Answer(b",".join(entries) or head + b"}", len(records) + len(included), total)


def _entries(view: View, base_url: str, shown: Sequence[Served], mode: bytes) -> list[bytes]:
    """The URLs need no escaping: they are made of a configured address, a type's name and base32."""
    form = b'{"fullUrl":"%b%b","resource":%b,"search":{"mode":"' + mode + b'"}}'
    before = {kind: f"{base_url}/{kind}/{view.vault}.".encode() for kind in {one.resource_type for one in shown}}
    return [form % (before[kind], local.encode(), body) for kind, local, body in shown]
