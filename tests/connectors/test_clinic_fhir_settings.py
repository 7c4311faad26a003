"""The settings of a FHIR account: what is refused, in words that name the setting and never its value."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.fhir_settings import FhirAccountSettings
from connectors.insurer_fhir import InsurerFhirSettings
from tests.connectors.fhir_source import BASE, TOKEN, settings


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"base_url": "http://klinik.example/fhir"}, "https://"),
        ({"base_url": "ftp://klinik.example/fhir"}, "https://"),
        ({"base_url": "klinik.example/fhir"}, "https://"),
        ({"base_url": "https:///fhir"}, "https://"),
        ({"base_url": "https://[::1"}, "no address"),
        ({"base_url": "https://user:kanarie@klinik.example/fhir"}, "without user name"),
        ({"base_url": "https://klinik.example/fhir?key=kanarie"}, "without user name"),
        ({"token_url": "http://klinik.example/token"}, "https://"),
        ({"page_size": 0}, "page_size"),
        ({"page_size": "many"}, "page_size"),
        ({"full_listing_every": 0}, "full_listing_every"),
        ({"overlap_minutes": -1}, "overlap_minutes"),
        ({"resource_types": ["Observation", "Raumschiff"]}, "Raumschiff"),
        ({"patient_id": "erika?x=kanarie"}, "patient_id"),
        ({"patient_id": ""}, "patient_id"),
        ({"bearer_token": "kanarie\nX-Evil: 1"}, "printable ASCII"),
        ({"bearer_token": "kanarie-ü"}, "printable ASCII"),
        ({"bearer_token": ""}, "not empty"),
        ({"headers": {"X-Api-Key": "kanarie\r\n"}}, "printable ASCII"),
        ({"client_id": "kanarie"}, "together"),
        ({"client_id": "a", "private_key_file": "/kanarie/absent"}, "private_key_file"),
        ({"colour": "kanarie"}, "colour"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as raised:
        settings(**changed)
    assert says in str(raised.value)
    assert "kanarie" not in str(raised.value)


def test_the_least_that_is_needed() -> None:
    made = FhirAccountSettings(base_url=BASE, patient_id="erika")
    assert (made.bearer_token, made.client_id, made.page_size) == (None, None, 100)


@pytest.mark.parametrize("base", ["http://127.0.0.1:8080/fhir", "http://localhost/fhir", "http://[::1]:80/fhir"])
def test_plain_http_is_for_this_machine(base: str) -> None:
    assert settings(base_url=base).base_url == base


def test_secrets_do_not_show(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch()
    made = settings(headers={"X-Api-Key": "kanarie"}, client_id="a", private_key_file=key)
    assert TOKEN not in repr(made)
    assert "kanarie" not in repr(made)


def test_an_insurer_is_asked_for_the_insurance_alone() -> None:
    types = InsurerFhirSettings(base_url=BASE, patient_id="v1").resource_types
    assert types[:2] == ("Coverage", "ExplanationOfBenefit")
    assert set(types[2:]) == {"Location", "Organization", "Practitioner", "PractitionerRole"}
