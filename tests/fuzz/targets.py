"""What is fuzzed: each parser with any bytes. It may refuse them by its own error; everything else is a finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request

from aggregator.api import encoding
from aggregator.api.fhir import condition, formats, preference
from aggregator.errors import CallerError
from aggregator.fhir import fhirpath_patch, json_patch
from aggregator.fhir.search import search
from aggregator.vault.image import Image, build
from fhir_profiles.check import check
from fhir_profiles.text import NotJson, dumps, loads
from fhir_profiles.xml import NotXml, to_json, to_xml
from tests.fhir.world import INDEX, LINKS, SmallView, handmade

VIEW = SmallView(Image.open(build(handmade(), INDEX)))
RESOURCE = next(one.body for one in handmade() if one.local == "hba1c-2024")
XML = to_xml(loads(RESOURCE))


@dataclass(frozen=True, kw_only=True)
class Target:
    """run: what is fuzzed; refuses: how it may say no; seeds: what to begin with."""

    run: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...]
    seeds: Sequence[bytes]


def json(data: bytes) -> None:
    """A body: parsed, checked, and printed as the same again."""
    parsed = loads(data)
    assert loads(dumps(parsed)) == parsed
    if isinstance(parsed, dict):
        check(parsed)


def xml(data: bytes) -> None:
    """A body: parsed, checked, and written as the same again."""
    parsed = to_json(data)
    check(parsed)
    assert to_json(to_xml(parsed)) == parsed


def query(data: bytes) -> None:
    """A search, asked of a small record."""
    search(VIEW, "Observation", parse_qsl(data.decode("latin-1"), keep_blank_values=True)[:50], LINKS)


def patch_json(data: bytes) -> None:
    """JSON Patch: what comes of it can be printed."""
    dumps(json_patch.patch(loads(RESOURCE), loads(data)))


def patch_fhirpath(data: bytes) -> None:
    """FHIRPath Patch, its operations divided by lines: type, path, name, and a value as JSON."""
    operations = [line.split("\t") for line in data.decode("utf-8", "replace").split("\n")]
    parts = [
        {"name": "operation", "part": [_part(name, text) for name, text in zip(_PARTS, one, strict=False)]}
        for one in operations
    ]
    dumps(fhirpath_patch.patch(loads(RESOURCE), {"resourceType": "Parameters", "parameter": parts}))


_PARTS = ("type", "path", "name", "value", "index")


def _part(name: str, text: str) -> dict[str, object]:
    if name not in ("value", "index"):
        return {"name": name, "valueString": text}
    value = loads(text)
    return {"name": name, **value} if isinstance(value, dict) else {"name": name, "valueInteger": value}


def headers(data: bytes) -> None:
    """What a request says of the form that it wants and of what it has."""
    lines = [line.partition(b":")[::2] for line in data.split(b"\n")]
    request = Request({"type": "http", "headers": [(name.strip().lower(), value.strip()) for name, value in lines]})
    encoding.liked(request.headers.get("accept-encoding", "").encode("latin-1"))
    condition.unchanged(request, {"ETag": 'W/"1"', "Last-Modified": "Sat, 21 Nov 2026 20:30:00 GMT"})
    preference.returned(request)
    formats.settle(request, [("_format", request.headers["_format"])] if "_format" in request.headers else [])


TARGETS: Mapping[str, Target] = {
    "json": Target(run=json, refuses=(NotJson,), seeds=(RESOURCE, b'{"a":[0.40,-0,1e400,"\\ud83d\\ude00"]}')),
    "xml": Target(run=xml, refuses=(NotXml,), seeds=(XML, b"<!DOCTYPE a><a/>")),
    "query": Target(
        run=query,
        refuses=(CallerError,),
        seeds=(
            b"code=http://loinc.org|4548-4&date=ge2024&_sort=-date&_count=2",
            b"subject:Patient.name:exact=A%5C,b&_has:Provenance:target:recorded=lt2025&_include:iterate=*",
            b"value-quantity=5.40|http://unitsofmeasure.org|mg&_elements=code&_summary=true&_total=accurate&_page=a",
        ),
    ),
    "json_patch": Target(
        run=patch_json,
        refuses=(CallerError, NotJson),
        seeds=(
            b'[{"op":"replace","path":"/status","value":"final"},{"op":"test","path":"/code/coding/0","value":{}}]',
            b'[{"op":"move","from":"/code","path":"/a~1b"},{"op":"add","path":"/category/-","value":[0.40]}]',
        ),
    ),
    "fhirpath_patch": Target(
        run=patch_fhirpath,
        refuses=(CallerError, NotJson),
        seeds=(
            b'replace\tObservation.status\t\t{"valueCode":"final"}',
            b'add\tObservation\tnote\t{"valueAnnotation":{"text":"a"}}\ndelete\tObservation.code.coding[0]',
            b"move\tObservation.category.where(coding.exists())\t\t{}\t1",
        ),
    ),
    "headers": Target(
        run=headers,
        refuses=(CallerError,),
        seeds=(
            b"accept: application/fhir+xml;q=0.5, */*\nprefer: handling=strict, return=minimal\n_format: xml",
            b'if-none-match: W/"1", *\nif-modified-since: Sat, 21 Nov 2026 20:30:00 GMT\naccept-encoding: br;q=0.1, *',
        ),
    ),
}
