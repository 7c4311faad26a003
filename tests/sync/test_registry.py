"""Which connectors may run: those that the settings name, of this version of the contract."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aggregator.config import SourceSettings
from aggregator.errors import OperatorError
from aggregator.sync.registry import Registry, Source, installed, load
from connectors.contract import Kind
from tests.sync.sync_world import Script

CLINIC = {"base_url": "https://klinik.example/fhir"}
OURS = ["clinic_fhir", "insurer_fhir", "practice_ldt", "practice_medication_plan"]


def test_a_connector_is_loaded_by_the_name_that_the_settings_give() -> None:
    registry = Registry({"klinik": SourceSettings(connector="clinic_fhir", title="Klinik Nord", settings=CLINIC)})
    (source,) = registry
    assert (source.authority, source.title, source.spec.name) == ("klinik", "Klinik Nord", "clinic_fhir")
    assert registry.source("klinik") is source


def test_what_is_installed_can_be_listed_without_loading_it() -> None:
    assert set(OURS) <= set(installed())


def test_a_connector_that_is_not_installed_stops_the_start() -> None:
    with pytest.raises(OperatorError, match=r"no connector 'clinic' is installed; installed: .*clinic_fhir"):
        load("clinic")


def test_an_empty_configuration_has_no_sources() -> None:
    with pytest.raises(OperatorError, match=r"^there is no source of that name in the settings$"):
        Registry({}).source("klinik")


def test_the_interval_is_never_below_the_connectors_own() -> None:
    source = Script().source("klinik", minutes=30)
    assert source.interval == 30 * 60
    eager = Source("klinik", SourceSettings(connector="scripted", interval_minutes=1), source.spec)
    assert eager.interval == 60
    slow = replace(source.spec, min_interval=source.spec.min_interval * 90)
    assert Source("klinik", eager.settings, slow).interval == 90 * 60


def test_a_source_without_a_title_is_called_by_its_name() -> None:
    source = Script().source("labor", Kind.FEED)
    assert (source.title, source.is_feed) == ("labor", True)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "base_url: Field required"),
        (CLINIC | {"foo": 1}, "foo: Extra inputs are not permitted"),
        (CLINIC | {"page_size": "many"}, "page_size: "),
        (CLINIC | {"client_id": "a", "private_key_file": "/nowhere/key.json"}, "private_key_file: "),
    ],
)
def test_an_operators_wrong_setting_stops_the_start_before_any_patient_connects(
    settings: dict[str, object], told: str
) -> None:
    with pytest.raises(OperatorError, match=f"^sources.klinik.settings: {told}"):
        Registry({"klinik": SourceSettings(connector="clinic_fhir", settings=settings)})
