"""history and vread: the versions of resources. https://hl7.org/fhir/R4/http.html#history

A history is a function of what its reader may see. For the owner that is every version there is. A view holds present
versions alone, so to everybody else a history tells those, as a read does: whether there were others, or what they
said, was never decided for this reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

from aggregator.fhir import security_labels
from aggregator.fhir.bundle import Answer
from aggregator.fhir.outcome import BadQuery, Gone, NotFound, UnknownParameter
from aggregator.fhir.page import COUNT, DEFAULT_COUNT, PAGE, Links, Pairs, count, single
from aggregator.fhir.view import View
from aggregator.vault.encoding import instant_of, milliseconds
from aggregator.vault.envelope import Delete
from aggregator.vault.fold import State
from aggregator.vault.image import Image, Served
from fhir_profiles.dates import EVER, stretch
from fhir_profiles.text import dumps, peek

PARAMETERS = (COUNT, "_since", "_at", PAGE)
_UNHEARD = ("_format", "_pretty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One version. updated, until: when it came and when the next one did, milliseconds since 1970 UTC.

    body: None where the resource ended. created: it was not there before.
    """

    resource_type: str
    local: str
    version: int
    updated: int
    until: int
    created: bool
    body: Callable[[], bytes] | None

    def shown(self) -> bytes:
        """The resource; nothing where it ended."""
        return self.body() if self.body else b""

    @property
    def place(self) -> tuple[int, str, str, int]:
        """Where it stands in a history: that of the newest is the highest."""
        return self.updated, self.resource_type, self.local, self.version


def of_state(state: State) -> Iterator[Past]:
    """Every version of everything."""
    for versions in state.histories():
        kind, present = "", False
        ends = [*(milliseconds(one.operation.updated) for one in versions[1:]), EVER[1]]
        for one, until in zip(versions, ends, strict=True):
            operation = one.operation
            kind = operation.resource_type or kind  # a listing that ended a resource did not know its type
            yield Past(
                resource_type=kind,
                local=operation.local,
                version=operation.version,
                updated=milliseconds(operation.updated),
                until=until,
                created=not present,
                body=None if isinstance(operation, Delete) else partial(bytes, operation.resource),
            )
            present = not isinstance(operation, Delete)


def of_view(view: View) -> Iterator[Past]:
    """The versions that a view holds: the present ones."""
    for kind, rids in view.image.kinds.items():
        rows = view.image.select(
            "SELECT rid, local, version, updated FROM resource WHERE rid >= ? AND rid < ?", (rids.start, rids.stop)
        )
        for rid, local, version, updated in rows:
            yield Past(
                resource_type=kind,
                local=local,
                version=version,
                updated=updated,
                until=EVER[1],
                created=version == 1,
                body=partial(_body, view.image, rid),
            )


def _body(image: Image, rid: int) -> bytes:
    return image.served([rid])[0].body


def vread(pasts: Iterable[Past], resource_type: str, local: str, version: str) -> Past:
    """One version of one resource. Raises NotFound, Gone where it is the one that ended it."""
    for past in pasts:
        if (past.resource_type, past.local, str(past.version)) == (resource_type, local, version):
            if past.body is None:
                raise Gone
            return past
    raise NotFound


def history(
    view: View, pasts: Iterable[Past], path: str, pairs: Pairs, links: Links, *, strict: bool = False
) -> Answer:
    """A Bundle of type history, one page of it, the newest first. Raises BadQuery.

    path: what it is a history of, `Observation/x/_history`. `_since`: what came at or after this instant. `_at`: what
    was current at some time in this stretch.
    """
    given = single(pairs, PARAMETERS)
    ignored = [name for name, _ in pairs if name not in PARAMETERS and name not in _UNHEARD]
    if ignored and strict:
        raise UnknownParameter(ignored[0])
    since, (low, high) = _stretch(given, "_since")[0], _stretch(given, "_at")
    wanted = [one for one in pasts if one.updated >= since and one.updated < high and one.until > low]
    wanted.sort(key=lambda past: past.place, reverse=True)
    query = urlencode([pair for pair in pairs if pair[0] in PARAMETERS and pair[0] != PAGE])
    most, first = count(given.get(COUNT, str(DEFAULT_COUNT))), 0
    if PAGE in given:
        before = links.place(view, path, query, given[PAGE]).values
        first = sum(one.place >= before for one in wanted)
    shown = wanted[first : first + most]
    urls = [{"relation": "self", "url": links.url(path, query)}]
    if shown and len(wanted) > first + most:
        last = Served(shown[-1].resource_type, shown[-1].local, b"")
        urls.append({"relation": "next", "url": links.next(view, path, query, last, shown[-1].place)})
    return Answer(_bundle(view, shown, urls, links, len(wanted)), len(shown), len(wanted))


def _stretch(given: dict[str, str], name: str) -> tuple[int, int]:
    found = stretch(given[name]) if name in given else EVER
    if found is None:
        raise BadQuery(name, "not a date or an instant")
    return found


def _bundle(view: View, shown: Sequence[Past], urls: list[dict[str, str]], links: Links, total: int) -> bytes:
    meta = security_labels.of_bodies(peek(past.shown()) for past in shown if past.body)
    head = dumps({"resourceType": "Bundle", **meta, "type": "history", "total": total, "link": urls})
    entries = [_entry(f"{view.vault}.{past.local}", past, links.base_url) for past in shown]
    return b"".join([head[:-1], b',"entry":[' + b",".join(entries) + b"]" if entries else b"", b"}"])


def _entry(whole_id: str, past: Past, base_url: str) -> bytes:
    one = f"{past.resource_type}/{whole_id}"
    method = "DELETE" if past.body is None else "POST" if past.created and past.version == 1 else "PUT"
    told = {
        "request": {"method": method, "url": past.resource_type if method == "POST" else one},
        "response": {
            "status": "204" if past.body is None else "201" if past.created else "200",
            "etag": f'W/"{past.version}"',
            "lastModified": instant_of(past.updated),
        },
    }
    resource = b'"resource":' + past.shown() + b"," if past.body else b""
    return b'{"fullUrl":"%b",%b%b' % (f"{base_url}/{one}".encode(), resource, dumps(told)[1:])
