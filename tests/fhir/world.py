"""A small record to search: the handmade resources of `record.ndjson`, in a view of vault k3."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from aggregator.fhir.index import SearchIndex
from aggregator.fhir.page import Links
from aggregator.vault.image import Image, Record, Tombstone, build
from fhir_profiles.check import check
from fhir_profiles.dates import stretch
from fhir_profiles.text import Resource, loads

HERE = Path(__file__).parent
BASE = "https://record.example/fhir"
VAULT = "k3"
GONE = Tombstone(resource_type="Observation", local="mistaken", version=2, updated=1_762_000_000_000)
INDEX = SearchIndex(BASE)


def _seal(place: bytes) -> str:
    return base64.urlsafe_b64encode(b"sealed" + place).decode().rstrip("=")


def _unseal(token: str) -> bytes:
    try:
        opened = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not sealed here") from error
    if not opened.startswith(b"sealed"):
        raise ValueError("not sealed here")
    return opened.removeprefix(b"sealed")


LINKS = Links(base_url=BASE, seal=_seal, unseal=_unseal)


@dataclass(frozen=True)
class SmallView:
    image: Image
    vault: str = VAULT


def record(body: bytes) -> Record:
    resource = loads(body)
    moment = stretch(resource["meta"]["lastUpdated"])
    assert moment is not None
    return Record(
        resource_type=resource["resourceType"],
        local=resource["id"].partition(".")[2],
        version=int(resource["meta"]["versionId"]),
        updated=moment[0],
        section="results",
        body=body,
    )


def handmade() -> list[Record]:
    return [record(line) for line in (HERE / "record.ndjson").read_bytes().splitlines()]


def view_of(records: Iterable[Record]) -> SmallView:
    return SmallView(Image.open(build(records, INDEX, [GONE], frame=INDEX.frame(VAULT))))


def pairs(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))


def entries(bundle: Resource, mode: str = "match") -> list[Resource]:
    return [entry["resource"] for entry in bundle.get("entry", ()) if entry["search"]["mode"] == mode]


def names(bundle: Resource) -> list[str]:
    return [resource["id"].removeprefix(f"{VAULT}.") for resource in entries(bundle)]


def next_query(bundle: Resource) -> list[tuple[str, str]] | None:
    """The query of the next page's link."""
    found = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
    return pairs(urlsplit(found[0]).query) if found else None


def assert_golden(answer: bytes, name: str) -> None:
    """The whole answer is as `expected/<name>.json` has it, numbers by their text, members in order, and valid FHIR."""
    expected = loads((HERE / "expected" / f"{name}.json").read_bytes())
    assert loads(answer) == expected
    assert check(expected) == ()
    assert list(_keys(json.loads(answer))) == list(_keys(json.loads(json.dumps(expected, default=repr))))


def _keys(value: object) -> Sequence[str]:
    if isinstance(value, dict):
        return [key for name, child in value.items() for key in (name, *_keys(child))]
    return [key for child in value for key in _keys(child)] if isinstance(value, list) else []
