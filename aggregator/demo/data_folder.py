"""A folder of Bundles for the demo: each Bundle that holds a Patient becomes one more patient of the clinic.

Bundles without a Patient (hospitals, practitioners) are loaded first, so that conditional references find their target;
within each kind the order is that of the file names. Nothing is lost silently: what cannot be taken is named, and its
entries are counted.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aggregator.consent.mandate import Person
from aggregator.demo.fhir_server.bundle import Loaded
from aggregator.demo.fhir_server.refused import Refused
from aggregator.demo.fhir_server.server import FhirServer
from aggregator.errors import CallerError, OperatorError
from aggregator.identity.patient import is_kvnr, stated
from aggregator.sync.whose import subject_of
from fhir_profiles.codes import KVNR
from fhir_profiles.text import NotJson, Resource, loads
from fhir_profiles.xml import NotXml, to_json

_NOT_A_BUNDLE = "is no FHIR Bundle"
_READERS: dict[str, Callable[[bytes], Any]] = {".json": loads, ".xml": to_json}
_NOBODY = "holds a Patient without a family name or a whole date of birth"
_NOT_ASCII = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPatient:
    """One more patient. short: names the patient in the output; entries: each entry's "Type/id" at the clinic, None
    for one that the clinic refused."""

    short: str
    person: Person
    clinic_id: str
    entries: tuple[str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFolder:
    """What became of the folder.

    bundles: how many hold a Patient. lost: entries of those of them that made no patient. refused: (file, why) of what
    could not be taken. ignored: files that are neither JSON nor XML by their name.
    """

    patients: tuple[DataPatient, ...] = ()
    bundles: int = 0
    lost: int = 0
    refused: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(slots=True)
class _Taking:
    """The state while a folder is read."""

    clinic: FhirServer
    patients: list[DataPatient] = field(default_factory=list)
    lost: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def load(self, file: Path, bundle: Resource) -> None:
        """Have the clinic take one Bundle; a refusal is written down."""
        entries = bundle.get("entry")
        size = len(entries) if isinstance(entries, list) else 0
        try:
            loaded = self.clinic.load(bundle, file.name)
            if _holds_patient(bundle):
                self.patients.append(_patient(bundle, loaded))
        except Refused as refused:
            self.refused.append((file.name, refused.text))
            self.lost += size if _holds_patient(bundle) else 0


def take(folder: Path, clinic: FhirServer) -> DataFolder:
    """Load every Bundle of the folder into the clinic. Raises OperatorError where the folder cannot be listed."""
    try:
        files = sorted(file for file in folder.iterdir() if file.is_file())
    except OSError:
        raise OperatorError(f"--data {folder}: this is no folder that can be read") from None
    named = [file for file in files if file.suffix.lower() in _READERS]
    read = [(file, _bundle(file)) for file in named]
    taking = _Taking(clinic, refused=[(file.name, _NOT_A_BUNDLE) for file, bundle in read if bundle is None])
    bundles = [(file, bundle) for file, bundle in read if bundle is not None]
    for file, bundle in sorted(bundles, key=lambda one: (_holds_patient(one[1]), one[0].name)):
        taking.load(file, bundle)
    return DataFolder(
        patients=tuple(taking.patients),
        bundles=sum(_holds_patient(bundle) for _, bundle in bundles),
        lost=taking.lost,
        refused=tuple(taking.refused),
        ignored=tuple(file.name for file in files if file not in named),
    )


def _bundle(file: Path) -> Resource | None:
    try:
        made = _READERS[file.suffix.lower()](file.read_bytes())
    except (OSError, NotJson, NotXml):
        return None
    return made if isinstance(made, dict) and made.get("resourceType") == "Bundle" else None


def _holds_patient(bundle: Resource) -> bool:
    return any(_type(entry) == "Patient" for entry in _entries(bundle))


def _entries(bundle: Resource) -> list[Any]:
    entries = bundle.get("entry")
    return entries if isinstance(entries, list) else []


def _type(entry: Any) -> Any:
    resource = entry.get("resource") if isinstance(entry, dict) else None
    return resource.get("resourceType") if isinstance(resource, dict) else None


def _patient(bundle: Resource, loaded: list[Loaded]) -> DataPatient:
    """Raises Refused where the clinic did not take the Patient, or nobody could sign up as that person."""
    place = next(index for index, entry in enumerate(_entries(bundle)) if _type(entry) == "Patient")
    told, clinic_id = subject_of(_entries(bundle)[place]["resource"]), loaded[place].id
    if clinic_id is None:
        raise loaded[place].reason or Refused(400, _NOBODY)
    numbers = (one.value for one in told.identifiers if one.system == KVNR)
    kvnr = next((number for number in numbers if is_kvnr(number)), None)  # without one, name and birth date decide
    try:
        person = stated(
            family=told.family, given=told.given, birth_date=told.birth_date, kvnr=kvnr, today=datetime.now(UTC).date()
        )
    except CallerError:
        raise Refused(400, _NOBODY) from None
    entries = tuple(f"{one.resource_type}/{one.id}" if one.id else None for one in loaded)
    return DataPatient(short=_short(person, clinic_id), person=person, clinic_id=clinic_id, entries=entries)


def _short(person: Person, clinic_id: str) -> str:
    """A name for people, and enough of a digest that two patients of one name are told apart."""
    plain = unicodedata.normalize("NFKD", f"{person.given} {person.family}").encode("ascii", "ignore").decode()
    digest = hashlib.sha256(clinic_id.encode()).hexdigest()[:6]
    return f"{_NOT_ASCII.sub('-', plain.lower()).strip('-')}-{digest}".lstrip("-")
