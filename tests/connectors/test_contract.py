"""The contract itself: what an origin holds, how errors are named, and that every connector is under conformance."""

import tomllib
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from connectors import contract
from connectors.contract import ConnectorError, Origin, Settings, Transient
from tests.connectors.fhir_source import NOW

ROOT = Path(__file__).parents[2]
CONNECTORS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"][
    "aggregator.connectors"
]


def test_an_origin_holds_the_hash_of_the_payload() -> None:
    origin = Origin.of(b"abc", locator="file:1", source_id="Basic/1", fetched_at=NOW)
    assert origin.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_every_error_is_drawn_in_the_tree() -> None:
    errors = {kind.__name__ for kind in ConnectorError.__subclasses__()}
    assert errors == {"Transient", "NeedsPatient", "NeedsOperator", "SourceChanged"}
    assert all(f"── {name} " in (contract.__doc__ or "") for name in errors)


def test_a_transient_error_may_say_when() -> None:
    assert Transient("busy").retry_after is None
    assert Transient("busy", timedelta(seconds=5)).retry_after == timedelta(seconds=5)


class _Sample(Settings):
    count: int
    password: SecretStr


@pytest.mark.parametrize("given", [{"count": "kanarie"}, {"count": 1, "password": 5}, {"kanarie-key": 1}, {}])
def test_a_wrong_setting_does_not_show_its_value(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as raised:
        _Sample.model_validate({"count": 1, "password": "kanarie-password"} | given | {"extra": "kanarie"})
    assert "kanarie-password" not in str(raised.value)
    assert "input_value" not in str(raised.value)


@pytest.mark.parametrize("name", CONNECTORS)
def test_every_connector_has_recorded_and_expected_files_and_a_row_in_the_quality_table(name: str) -> None:
    folder = ROOT / "tests" / "connectors" / name
    assert list(folder.glob("recorded/*/case.json"))
    assert list(folder.glob("expected/*.json"))
    assert f"`{name}`" in (ROOT / "connectors" / "README.md").read_text("utf-8")
