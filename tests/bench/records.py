"""Records to measure with: Synthea Bundles of the outside data, their ids rewritten so that any number is distinct.

Every pass over the Bundles is one more copy; ids and the references between the resources of one Bundle are rewritten
together, so each copy is whole in itself. The same `count` gives the same records in the same order.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from fhir_profiles.text import Resource, dumps, loads

_ROOT = Path(__file__).resolve().parents[2]
_NAMESPACE = uuid.UUID("6f1c1f4e-6f0c-5d0a-9a52-2f0f4b1f7a10")


class DataMissing(RuntimeError):
    """The outside test data is not on this machine."""


def data_folder() -> Path:
    """AGGREGATOR_TEST_DATA, else `shared/data` beside the project. Raises DataMissing where it is absent."""
    folder = Path(os.environ.get("AGGREGATOR_TEST_DATA", _ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        raise DataMissing("the test data is absent: set AGGREGATOR_TEST_DATA to its folder")
    return folder


def records(number: int) -> list[Resource]:
    """`number` FHIR resources with distinct ids (UUIDs), references as "Type/id". Raises DataMissing."""
    bundles = _patient_bundles()
    copies = ((f"{copy} {place}", text) for copy in count() for place, text in enumerate(bundles))
    return list(islice((resource for name, text in copies for resource in _copied(name, text)), number))


def _patient_bundles() -> list[bytes]:
    folder = data_folder() / "fhir-synthea" / "smart-generated-sample-data-r4"
    texts = [path.read_bytes() for path in sorted(folder.glob("*.json"))]
    found = [text for text in texts if b'"Patient"' in text]
    if not found:
        raise DataMissing("the test data holds no Synthea Bundle of a patient")
    return found


def _copied(name: str, text: bytes) -> Iterator[Resource]:
    """The resources of a Bundle's copy of that name; what names an entry's fullUrl names its new id instead."""
    entries = loads(text)["entry"]
    new = {entry["fullUrl"]: str(uuid.uuid5(_NAMESPACE, f"{name} {entry['fullUrl']}")) for entry in entries}
    targets = {url: f"{entry['resource']['resourceType']}/{new[url]}" for url, entry in zip(new, entries, strict=True)}
    for entry in entries:
        resource = {**entry["resource"], "id": new[entry["fullUrl"]]}
        yield _rewritten(resource, targets)


def _rewritten(resource: Resource, targets: dict[str, str]) -> Resource:
    printed = dumps(resource).decode()
    parts = printed.split('"reference":"')
    kept = [_reference(part, targets) for part in parts[1:]]
    rewritten: Resource = loads('"reference":"'.join([parts[0], *kept]))
    return rewritten


def _reference(part: str, targets: dict[str, str]) -> str:
    old, rest = part.split('"', 1)
    return f'{targets.get(old, old)}"{rest}'
