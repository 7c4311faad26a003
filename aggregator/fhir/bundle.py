"""A searchset Bundle, put together from stored bytes: no resource is parsed or printed again.

https://hl7.org/fhir/R4/bundle.html#searchset
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.fhir import security_labels
from aggregator.fhir.entry import INCLUDE, MATCH, entries
from aggregator.fhir.outcome import Issue, ignored_parameters, operation_outcome
from aggregator.fhir.page import Links, Value
from aggregator.fhir.view import View
from aggregator.vault.image import Served
from fhir_profiles.text import Resource, dumps


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What was asked for: path and query (encoded) make its URL, count is the most it holds, ignored was not known."""

    path: str
    query: str
    count: int
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent, how many resources of the record it shows (for the receipt), and of how many in all.

    beside: bytes of the record that go out with it by another way.
    """

    body: bytes
    shown: int
    total: int | None = None
    beside: int = 0


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
    last = records[-1] if records and len(found) > page.count else None
    texts = [
        *entries(links.base_url, view.vault, records, MATCH),
        *entries(links.base_url, view.vault, included, INCLUDE),
    ]
    meta = security_labels.of(view, [one.rid for one in (*records, *included)])
    body = _bundle(links, page, _next(view, links, page, last, values), texts, meta, total, issues)
    return Answer(body, len(records) + len(included), total)


def stretch(view: View, links: Links, page: Page, first: int) -> Answer:
    """The Bundle of one page of all that there is, in its order, from the rid `first`: sent as the image holds it.

    Only of an image that is framed.
    """
    rids = range(first, min(first + page.count, view.image.count() + 1))
    texts = view.image.stretch(rids) if rids else []
    last = view.image.served([rids[-1]])[0] if rids and rids.stop <= view.image.count() else None
    meta = security_labels.of(view, rids)
    return Answer(_bundle(links, page, _next(view, links, page, last), texts, meta), len(rids))


def _next(view: View, links: Links, page: Page, last: Served | None, values: Sequence[Value] = ()) -> str | None:
    """Where it goes on behind the last one of this page, if it does."""
    return links.next(view, page.path, page.query, last, values) if last else links.beyond


def _bundle(
    links: Links,
    page: Page,
    next_url: str | None,
    texts: list[bytes],
    meta: Resource,
    total: int | None = None,
    issues: Sequence[Issue] = (),
) -> bytes:
    """texts: of entries, one or several in a piece, each with a comma before it."""
    urls = [{"relation": "self", "url": links.url(page.path, page.query)}]
    if next_url is not None:
        urls.append({"relation": "next", "url": next_url})
    if said := [*ignored_parameters(page.ignored), *issues]:
        texts.append(b',{"resource":' + dumps(operation_outcome(said)) + b',"search":{"mode":"outcome"}}')
    told = {} if total is None else {"total": total}
    head = dumps({"resourceType": "Bundle", **meta, "type": "searchset", **told, "link": urls})[:-1]
    if not texts:
        return head + b"}"
    # Joined once: everything is a megabyte.
    return b"".join((head, b',"entry":[', memoryview(texts[0])[1:], *texts[1:], b"]}"))
