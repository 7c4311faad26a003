"""Settings: the example holds every one with its real default and loads; what is wrong is named, with what is right."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from aggregator.config import ClientSettings, Config, SourceSettings, load
from aggregator.errors import OperatorError
from aggregator.identity.client_registry import register
from aggregator.sync import registry
from connectors.contract import utc_now

EXAMPLE = Path(__file__).parents[1] / "config.example.toml"
ACCOUNTS: dict[str, dict[str, str]] = {
    "klinik-nord": {"patient_id": "p1"},
    "nordlicht": {"patient_id": "v1", "bearer_token": "secret"},
    "praxis-labor": {},
    "praxis-plan": {"patient_number": "10427"},
}


def settings_of(model: type[BaseModel], *path: str) -> Iterator[tuple[str, Any]]:
    """("section.setting", its default) of every setting that is no table of named tables."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from settings_of(kind, *path, name)
        elif path:
            yield ".".join((*path, name)), field.get_default(call_default_factory=True, validated_data={})


def flat(told: dict[str, Any], *path: str) -> Iterator[tuple[str, Any]]:
    for name, value in told.items():
        if isinstance(value, dict):
            yield from flat(value, *path, name)
        else:
            yield ".".join((*path, name)), value


def plain(default: Any) -> Any:
    return str(default) if isinstance(default, Path) else default


def uncommented() -> str:
    return re.sub(r"(?m)^#(?! )", "", EXAMPLE.read_text(encoding="utf-8"))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The example with every example in it taken in."""
    file = tmp_path / "config.toml"
    file.write_text(uncommented(), encoding="utf-8")
    return file


def test_the_example_holds_every_setting_with_its_real_default() -> None:
    stated = dict(flat(tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))))
    assert stated == {name: plain(default) for name, default in settings_of(Config)}


def test_the_example_loads_and_changes_nothing() -> None:
    folder = EXAMPLE.parent
    assert load(EXAMPLE).model_dump() == {
        **Config().model_dump(),
        "store": {"path": folder / "store/aggregator.db", "url": "", "password_file": ""},
        "blobs": Config().blobs.model_dump() | {"url": str(folder / "store/blobs")},
        "keys": Config().keys.model_dump() | {"folder": folder / "keys"},
    }


def test_the_examples_in_it_load_and_name_every_setting_of_a_client_and_a_source(whole: Path) -> None:
    config = load(whole)
    told = tomllib.loads(uncommented())
    assert {setting for client in told["clients"].values() for setting in client} == set(ClientSettings.model_fields)
    named = {name: set(source) for name, source in told["sources"].items()}
    assert named["praxis-labor"] == set(SourceSettings.model_fields)
    assert all(one | {"identity_level"} == named["praxis-labor"] for one in named.values())  # a feed alone has a level
    assert config.clients["hausarzt"].jwks_file == whole.parent / "clients/hausarzt.jwks.json"


def _nowhere(_: str) -> bytes:
    raise AssertionError("nothing is fetched when the service starts")


def test_the_examples_of_clients_can_be_registered(whole: Path) -> None:
    settings = load(whole).clients
    settings["hausarzt"].jwks_file.parent.mkdir()  # type: ignore[union-attr]  # it names one
    settings["hausarzt"].jwks_file.write_text(json.dumps(settings["labor"].jwks))  # type: ignore[union-attr]
    assert {name: bool(client.keys) for name, client in register(settings, _nowhere, utc_now).items()} == {
        "hausarzt": True,
        "labor": True,
        "kasse": True,
        "tagebuch": False,
    }


def test_there_is_a_working_example_for_each_connector(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "klinik-nord.private.json").touch()
    sources = {source.authority: source for source in registry.Registry(load(whole).sources)}
    assert sorted(source.spec.name for source in sources.values()) == registry.installed()
    for authority, source in sources.items():
        source.check(ACCOUNTS[authority])


@pytest.mark.parametrize("source", ["klinik-nord", "praxis-labor", "praxis-plan"])
def test_an_example_shows_every_setting_that_is_the_operators(source: str) -> None:
    told = tomllib.loads(uncommented())["sources"][source]
    spec = registry.load(told["connector"])
    assert set(told["settings"]) == set(spec.config.model_fields) - spec.account


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[http]\nprot = 80", "http.prot: there is no such setting; known here: host, port, base_url, max_body_bytes"),
        ("[http]\nport = 'eighty'", "http.port: Input should be a valid integer"),
        ("[http]\nport = 70000", "http.port: Input should be less than or equal to 65535"),
        (
            "[http]\nbase_url = 'http://akte.example'",
            "http.base_url: expects https://, or http:// for this machine",
        ),
        ("[sources.a]\ntitle = 'A'", "sources.a.connector: Field required"),
        ("[sources.a]\nconnector = 'x'\ncolour = 'red'", "sources.a.colour: there is no such setting"),
        ("[http\nport = 80", "is not TOML"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_its_name(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(OperatorError, match=re.escape(told)):
        load(file)


def test_an_error_never_shows_the_value(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[http]\nport = 'hunter2'")
    with pytest.raises(OperatorError) as raised:
        load(file)
    assert "hunter2" not in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"config\.toml is not there; copy config\.example\.toml"):
        load(tmp_path / "config.toml")


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATOR_HTTP__PORT", "9090")
    file = tmp_path / "config.toml"
    file.write_text("[http]\nport = 80\nhost = '::1'")
    config = load(file)
    assert (config.http.port, config.http.host) == (9090, "::1")


def test_keys_and_store_never_lie_in_one_another(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    for store, keys in (("keys/a.db", "keys"), ("a/b/a.db", "a"), ("keys/a.db", "keys/inner")):
        file.write_text(f'[store]\npath = "{store}"\n[keys]\nfolder = "{keys}"\n')
        with pytest.raises(OperatorError, match=r"^keys.folder: .* lie in one another"):
            load(file)
