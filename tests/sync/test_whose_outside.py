"""How many records from outside name their patient in a way that nobody can follow: each of them, and why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aggregator.consent.mandate import Expected
from aggregator.sync.whose import Whose
from fhir_profiles.text import NotJson, Resource, loads

pytestmark = pytest.mark.storeless

DATA = Path(os.environ.get("AGGREGATOR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
FOLDERS = ("fhir-de", "fhir-ips", "fhir-r4-official-examples", "fhir-synthea")


class Everybody(set[str]):
    """As if each record came from the account of the Patient that it names by id."""

    def __contains__(self, _: object) -> bool:
        return True


# Nobody is expected by number or name, so none of them is somebody else.
WHOSE = Whose(Expected(b"k" * 32, None, b""), Everybody())

REFUSED = {
    "no-subject Encounter urn:uuid": 1,  # it lies alone: there is no Bundle in which that could be found
    "no-subject Specimen Group": 1,  # the pooled serum of a herd
    "other-person QuestionnaireResponse http": 1,  # a Patient at hl7.org
}


def _resources() -> Iterator[Resource]:
    for folder in FOLDERS:
        for file in sorted((DATA / folder).rglob("*.json")):
            try:
                made: Any = loads(file.read_bytes())
            except NotJson:
                continue
            if isinstance(made, dict) and "resourceType" in made:
                yield made


@pytest.mark.outside
@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of records from outside is not there")
def test_three_records_from_outside_name_nobody_who_could_be_told() -> None:
    told, seen = Counter[str](), 0
    for resource in _resources():
        seen += 1
        if reason := WHOSE.refuse(resource):
            target = str(resource["subject"]["reference"])
            form = (
                target.partition("://")[0] if "://" in target else target.rpartition(":")[0] or target.partition("/")[0]
            )
            told[f"{reason.value} {resource['resourceType']} {form}"] += 1
    assert (dict(told), seen > 1000) == (REFUSED, True)
