"""The configuration of the demo world, as a file that the other commands read too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregator.config import LimitSettings
from aggregator.demo.home import Home
from aggregator.demo.story import practices
from fhir_profiles.codes import BSNR

_DAY_MINUTES = 12 * 60
_SIGNING_MINUTES = 60
_NO_LIMIT = 1_000_000
"""Whoever tries the demo out asks as fast as they can, and is nobody to be held back."""
_HEAD = "# Written by `aggregator demo` at each start: a change made here does not last.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """One source of the configuration: its connector, and the operator's settings."""

    authority: str
    connector: str
    title: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider of the demo: a client of the service, and how Consents name it."""

    client_id: str
    name: str
    system: str
    value: str


def family_doctor() -> Provider:
    """The demo's first provider."""
    practice = practices()[0]
    return Provider(client_id=practice.id, name=practice.name, system=BSNR, value=practice.bsnr)


def laboratory_doctor() -> Provider:
    """The laboratory that the family doctor sends to."""
    practice = practices()[0]
    return Provider(client_id="labor-foerde", name=practice.laboratory, system=BSNR, value=practice.laboratory_bsnr)


def providers() -> tuple[Provider, ...]:
    """The demo's providers, the first one first."""
    return family_doctor(), laboratory_doctor()


def write_config(home: Home, sources: Iterable[SourceRow], base_url: str, port: int) -> None:
    """Write HOME/config.toml; every path in it is whole or relative to HOME."""
    tables: dict[str, Mapping[str, Any]] = {
        "store": {"path": "store/aggregator.db"},
        "keys": {"folder": "keys"},
        "http": {"port": port, "base_url": base_url},
        "session": {
            "owner_minutes": _DAY_MINUTES,
            "signing_minutes": _SIGNING_MINUTES,
            "client_token_minutes": _DAY_MINUTES,
        },
        "limits": dict.fromkeys(LimitSettings.model_fields, _NO_LIMIT),
    }
    for source in sources:
        tables[f"sources.{source.authority}"] = {"connector": source.connector, "title": source.title}
        tables[f"sources.{source.authority}.settings"] = source.settings
    for one in providers():
        tables[f"clients.{one.client_id}"] = {
            "name": one.name,
            "identifiers": [{"system": one.system, "value": one.value}],
            "jwks_file": str(home.public_keys_file(one.client_id).relative_to(home.path)),
        }
    home.config.write_text(_HEAD + "".join(_table(*table) for table in tables.items()), encoding="utf-8")


def _table(name: str, rows: Mapping[str, Any]) -> str:
    return f"\n[{name}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in rows.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    # TOML's basic strings, whole numbers and booleans are JSON's.
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
