"""What a caller may ask: for every route of the table something is drawn, of all that its interaction takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from aggregator.fhir.patch import JSON_PATCH
from fhir_profiles.text import Resource, dumps
from tests.inference.asking import Request
from tests.inference.drawer import TYPES, Drawer, Pairs
from tests.inference.record import DATES

FHIR_JSON = {"content-type": "application/fhir+json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a route's entry says of a request, beside its path."""

    pairs: Pairs
    headers: Mapping[str, str]
    body: bytes = b""


def _search(drawn: Drawer, kind: str) -> Asked:
    pairs = [drawn.parameter(kind) for _ in range(drawn.one((0, 1, 1, 2)))] + drawn.results(kind)
    if drawn.yes():
        pairs.append(("patient" if kind != "Patient" else "_id", drawn.ids.subject.removeprefix("Patient/")))
    return Asked(pairs=pairs, headers=drawn.one(({}, {"prefer": "handling=strict"})))


def _search_form(drawn: Drawer, kind: str) -> Asked:
    asked, form = _search(drawn, kind), {"content-type": "application/x-www-form-urlencoded"}
    query = Request(method="", path="", pairs=tuple(asked.pairs)).query
    return Asked(pairs=[], headers=dict(asked.headers) | form, body=query.encode())


def _search_all(drawn: Drawer, kind: str) -> Asked:
    """Of several types: with what all have in common."""
    common = [drawn.parameter("Resource", 0) if drawn.yes() else ("_content", drawn.one(_WORDS))]
    types = [("_type", ",".join([kind, *drawn.some(TYPES, 3)]))] if drawn.yes() else []
    return Asked(pairs=[*common[: drawn.number(1)], *types, *drawn.results("Resource")], headers={})


def _search_all_form(drawn: Drawer, kind: str) -> Asked:
    asked = _search_all(drawn, kind)
    query = Request(method="", path="", pairs=tuple(asked.pairs)).query
    return Asked(pairs=[], headers={"content-type": "application/x-www-form-urlencoded"}, body=query.encode())


_WORDS = ("depressiv", "told", "beobachtet", "seelenfried", "psychiatrie", "F32", "word718")


def _read(drawn: Drawer, _: str) -> Asked:
    """Also conditionally, and in another form."""
    conditions = ({"if-none-match": 'W/"1"'}, {"if-none-match": 'W/"2"'}, {"if-modified-since": _LATER})
    forms = ({}, {"accept": "application/fhir+json"}, {"accept": "*/*"}, {"range": "bytes=1-2"})
    summary = [("_summary", "true"), ("_pretty", "true"), ("_format", "xml")]
    return Asked(pairs=drawn.some(summary, 1), headers={**drawn.one(({}, *conditions)), **drawn.one(forms)})


_LATER = "Fri, 20 Nov 2026 09:00:00 GMT"


def _of_operation(**values: Sequence[str]) -> Callable[[Drawer, str], Asked]:
    def ask(drawn: Drawer, _: str) -> Asked:
        known = {name: [*some] for name, some in values.items()}
        patient = [(name, drawn.ids.subject.removeprefix("Patient/")) for name in ("patient",) if "patient" in known]
        chosen = drawn.some([name for name in known if name != "patient"], 3)
        pairs = [(name.replace("on_demand", "on-demand"), drawn.one(known[name])) for name in chosen]
        return Asked(pairs=[*patient, *pairs], headers={})

    return ask


_everything = _of_operation(
    _type=("Condition", "Observation,Encounter"), _since=DATES, start=DATES[:3], end=DATES[1:3], _count=("1", "2")
)
_last_n = _of_operation(
    patient=(), code=("718-7", "75325-1"), category=("laboratory",), max=("1", "2"), date=("ge2024",)
)
_docref = _of_operation(patient=(), start=DATES[:3], end=DATES[1:3], on_demand=("true", "false"), type=("60591-5",))
_summary = _of_operation(profile=("http://hl7.org/fhir/uv/ips/StructureDefinition/Composition-uv-ips",))
_history = _of_operation(_since=DATES, _at=("2026-11-20", "2026"), _count=("1", "2"))
_nothing = _of_operation()
_metadata = _of_operation(mode=("full", "terminology"))


def _export(drawn: Drawer, _: str) -> Asked:
    some = {"_type": ("Condition", "Observation,Patient", "Binary"), "_since": DATES[1:]}
    pairs = [(name, drawn.one(some[name])) for name in drawn.some([*some], 2)]
    return Asked(pairs=pairs, headers={"prefer": drawn.one(("respond-async", "respond-async", ""))})


def _body(drawn: Drawer, kind: str) -> Asked:
    """A write, which is refused whatever it is about, but for a condition that finds something."""
    sent = dict(drawn.resource()) | {"resourceType": kind}
    sent |= drawn.one(({}, {"id": drawn.name().partition("/")[2]}))
    sent |= {drawn.one(("subject", "patient")): {"reference": drawn.ids.subject}}
    conditions = drawn.one(({}, {"if-match": 'W/"1"'}, {"if-none-exist": _query(drawn, kind)}))
    return Asked(pairs=[], headers=FHIR_JSON | conditions, body=dumps(sent))


def _query(drawn: Drawer, kind: str) -> str:
    return Request(method="", path="", pairs=(drawn.parameter(kind),)).query


def _conditional(drawn: Drawer, kind: str) -> Asked:
    asked = _body(drawn, kind)
    return Asked(pairs=[drawn.parameter(kind)], headers=asked.headers, body=asked.body)


def _patch(drawn: Drawer, kind: str) -> Asked:
    body = orjson.dumps([{"op": "test", "path": "/status", "value": "final"}])
    return Asked(
        pairs=_conditional(drawn, kind).pairs * drawn.number(1), headers={"content-type": JSON_PATCH}, body=body
    )


def _batch(drawn: Drawer, _: str) -> Asked:
    """Entries are requests of their own."""
    inner = [request(drawn, *drawn.one([*_IN_BATCH])) for _ in range(1 + drawn.number(3))]
    entries = [{"request": {"method": one.method, "url": _url(one)} | _conditions(one)} for one in inner]
    kind = drawn.one(("batch", "batch", "transaction", "collection"))
    return Asked(pairs=[], headers=FHIR_JSON, body=dumps({"resourceType": "Bundle", "type": kind, "entry": entries}))


def _url(one: Request) -> str:
    return f"{one.path}?{one.query}".removeprefix("/") if one.query else one.path.removeprefix("/") or "Patient"


def _conditions(one: Request) -> Resource:
    names = {"if-none-match": "ifNoneMatch", "if-modified-since": "ifModifiedSince"}
    return {
        name: "2026-11-20T10:00:00+01:00" if "since" in header else one.headers[header]
        for header, name in names.items()
        if header in one.headers
    }


def _validate(drawn: Drawer, kind: str) -> Asked:
    asked = _body(drawn, kind)
    return Asked(pairs=drawn.some([("mode", "update"), ("mode", "delete")], 1), headers=FHIR_JSON, body=asked.body)


ONE, KIND = "/{resource_type}/{whole_id}", "/{resource_type}"
_OPERATIONS: Mapping[str, Callable[[Drawer, str], Asked]] = {
    "/Patient/$everything": _everything,
    "/Patient/{whole_id}/$everything": _everything,
    "/Patient/{whole_id}/$summary": _summary,
    "/Observation/$lastn": _last_n,
    "/DocumentReference/$docref": _docref,
    "/Patient/$export": _export,
    "/Group/{whole_id}/$export": _export,
}
ROUTES: Mapping[tuple[str, str], Callable[[Drawer, str], Asked]] = {
    ("GET", KIND): _search,
    ("GET", f"/Patient/{{whole_id}}{KIND}"): _search,
    ("POST", f"{KIND}/_search"): _search_form,
    ("POST", f"/Patient/{{whole_id}}{KIND}/_search"): _search_form,
    ("GET", ""): _search_all,
    ("POST", "/_search"): _search_all_form,
    ("GET", "/Patient/{whole_id}/*"): _search_all,
    ("POST", "/Patient/{whole_id}/*/_search"): _search_all_form,
    ("GET", "/Binary/{whole_id}"): _read,
    ("GET", ONE): _read,
    ("GET", "/Group/consenting"): _nothing,
    ("GET", f"{ONE}/_history/{{version}}"): _read,
    ("GET", f"{ONE}/_history"): _history,
    ("GET", f"{KIND}/_history"): _history,
    ("GET", "/_history"): _history,
    ("GET", f"{ONE}/$validate"): _nothing,
    ("POST", f"{ONE}/$validate"): _validate,
    ("POST", f"{KIND}/$validate"): _validate,
    **{(method, path): ask for path, ask in _OPERATIONS.items() for method in ("GET", "POST")},
    ("GET", "/bulk/{export}"): _nothing,
    ("DELETE", "/bulk/{export}"): _nothing,
    ("GET", "/bulk/{export}/{file}"): _nothing,
    ("POST", "/Consent"): _body,
    ("PUT", "/Consent/{whole_id}"): _body,
    ("PUT", "/Patient/{whole_id}"): _body,
    ("POST", KIND): _body,
    ("PUT", ONE): _body,
    ("PUT", KIND): _conditional,
    ("PATCH", ONE): _patch,
    ("PATCH", KIND): _patch,
    ("DELETE", ONE): _nothing,
    ("DELETE", KIND): _conditional,
    ("POST", ""): _batch,
    ("GET", "/metadata"): _metadata,
    ("GET", "/.well-known/smart-configuration"): _nothing,
}
"""By method and path, as the table of the API has them: what is drawn for it."""

_READING = {key for key in ROUTES if key[0] == "GET" and "bulk" not in key[1]} | {
    ("POST", f"{KIND}/_search"),
    ("POST", ""),
}
CHOSEN = [*_READING & {("GET", KIND)}, *(key for key in ROUTES for _ in range(8 if key in _READING else 1))]
"""The routes, what reads a record more often."""

_IN_BATCH = [
    key for key in ROUTES if key not in {("POST", "")} and "bulk" not in key[1] and key[0] in ("GET", "DELETE")
]


def request(drawn: Drawer, method: str, path: str) -> Request:
    """One to this route. What can be read may be asked for by HEAD, and any path for its methods."""
    name = drawn.name()
    kind = path.split("/")[1] if path.startswith("/Patient/{") else name.partition("/")[0]
    fixed = path.split("/")[1] if path and path.split("/")[1].isalpha() else ""
    kind = fixed or drawn.one((kind, drawn.kind()))
    whole = drawn.one((name, drawn.ids.subject)) if fixed == "Patient" else name
    within = drawn.kind() if "}/{resource_type}" in path else kind
    asked = ROUTES[method, path](drawn, within)
    filled = path.format(
        resource_type=within,
        whole_id="consenting" if fixed == "Group" else whole.partition("/")[2],
        version=drawn.one("123"),
        export="0" * 64,
        file="Observation",
    )
    if method == "GET" and not drawn.number(9):
        method = drawn.one(("HEAD", "OPTIONS"))
    return Request(method=method, path=filled, pairs=tuple(asked.pairs), headers=asked.headers, body=asked.body)
