"""The records to measure with are distinct, whole in themselves and the same every time."""

from __future__ import annotations

import pytest

from fhir_profiles.text import dumps
from tests.bench.records import DataMissing, data_folder, records


@pytest.mark.outside
def test_records_are_distinct_and_refer_to_each_other() -> None:
    try:
        found = records(3000)
    except DataMissing as missing:
        pytest.skip(str(missing))
    ids = {f"{resource['resourceType']}/{resource['id']}" for resource in found}
    patients = {resource["subject"]["reference"] for resource in found if resource["resourceType"] == "Observation"}
    assert len(ids) == len(found) == 3000
    assert patients <= ids
    assert [dumps(resource) for resource in records(100)] == [dumps(resource) for resource in found[:100]]


def test_absent_data_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATOR_TEST_DATA", "/nowhere")
    with pytest.raises(DataMissing, match="AGGREGATOR_TEST_DATA"):
        data_folder()
