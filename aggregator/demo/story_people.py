"""Who the people of the demo world are, and the written facts their sources hold.

The facts stand in `people/`: one folder a person, one TOML file a source, each line a dated fact; `terms.toml` is the
shared vocabulary. A line reads `when | what | ...`; `when` is a time on the day the stay began (`09:20`), a day of the
stay (`+2 07:30`), or a whole date and time. Times are those of the clock on the wall in Kiel.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from fhir_profiles.text import Number

WALL_CLOCK = ZoneInfo("Europe/Berlin")
_FOLDER = Path(__file__).parent / "people"
_PEOPLE = ("erika", "aylin", "jonas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """A practice whose folders the demo watches, its doctor, and the laboratory it sends to. `id` names its files."""

    id: str
    name: str
    given: str
    family: str
    lanr: str
    bsnr: str
    street: str
    postal_code: str
    city: str
    phone: str
    laboratory: str
    laboratory_bsnr: str
    laboratory_doctor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One synthetic patient.

    id: the short name, 'erika'. clinic_id, insurer_id: the ids of the Patient resource at those servers.
    patient_numbers: practice id -> the number that practice files the person under.
    gender: a FHIR AdministrativeGender code. kvnr: the statutory insurance number.
    """

    id: str
    family: str
    given: str
    birth_date: date
    gender: str
    kvnr: str
    street: str
    postal_code: str
    city: str
    phone: str
    clinic_id: str
    insurer_id: str
    patient_numbers: Mapping[str, str]

    @property
    def name(self) -> str:
        """Given and family name, as one says them."""
        return f"{self.given} {self.family}"


@cache
def facts(*names: str) -> Mapping[str, Any]:
    """The parsed file `people/<names joined by />.toml`; decimals as written. Shared by all callers: do not change."""
    path = _FOLDER.joinpath(*names).with_suffix(".toml")
    return MappingProxyType(tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Number))


@cache
def people() -> tuple[Person, ...]:
    """The three patients, always in the same order."""
    return tuple(person_of(person, facts(person, "person")) for person in _PEOPLE)


@cache
def practices() -> tuple[Practice, ...]:
    """The two practices: the family doctor's, then the specialists'."""
    return tuple(Practice(id=practice, **row) for practice, row in facts("practices").items())


def term(kind: str, name: str) -> Any:
    """The entry `name` of a table in terms.toml. Raises KeyError where a story uses a word that is not there."""
    return facts("terms")[kind][name]


def moment(text: str, start: datetime) -> datetime:
    """What `when` in a line means in a stay that began at `start`; aware of its zone."""
    if "T" in text:
        return wall(text)
    day, _, clock = text.rpartition(" ")
    at = datetime.combine(start.date(), time.fromisoformat(clock), WALL_CLOCK)
    return at + timedelta(days=int(day or "0"))


def wall(text: str) -> datetime:
    """A date and time as the clock on the wall showed it; aware of its zone."""
    return datetime.fromisoformat(text).replace(tzinfo=WALL_CLOCK)


def person_of(name: str, row: Mapping[str, Any]) -> Person:
    """The Person that a table of the data describes; `name` becomes its id."""
    told = {field: value for field, value in row.items() if field not in ("born", "patient_numbers")}
    born = date.fromisoformat(row["born"])
    return Person(id=name, birth_date=born, patient_numbers=MappingProxyType(row["patient_numbers"]), **told)
