"""A folder of Bundles: who becomes a patient, what is loaded first, and what is said of all that is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aggregator.demo.clinic import Clinic
from aggregator.demo.data_folder import DataFolder, take
from aggregator.errors import OperatorError
from fhir_profiles.codes import KVNR, LOINC, OBSERVATION_CATEGORY
from tests.demo.demo_runs import NIGHT, Run, run


def patient(family: str, *, born: str = "1970-05-04", **more: Any) -> dict[str, Any]:
    names = [{"family": family, "given": ["Änne"]}] if family else []
    return {"resourceType": "Patient", "name": names, "birthDate": born, **more}


def observation(value: Any = "A") -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [{"system": OBSERVATION_CATEGORY, "code": "laboratory"}]}],
        "code": {"coding": [{"system": LOINC, "code": "883-9", "display": "ABO group"}]},
        "subject": {"reference": "urn:uuid:p"},
        "performer": [{"reference": "Practitioner?identifier=https://a.example/doctors|7"}],
        "valueString": value,
    }


def bundle(*resources: dict[str, Any], kind: str = "transaction") -> dict[str, Any]:
    entries = [
        {
            "fullUrl": f"urn:uuid:{'p' if one['resourceType'] == 'Patient' else number}",
            "resource": one,
            "request": {"method": "POST", "url": one["resourceType"]},
        }
        for number, one in enumerate(resources)
    ]
    return {"resourceType": "Bundle", "type": kind, "entry": entries}


PRACTITIONER = {"resourceType": "Practitioner", "identifier": [{"system": "https://a.example/doctors", "value": "7"}]}
FILES: dict[str, Any] = {
    "a-first.json": bundle(patient("Öztürk", identifier=[{"system": KVNR, "value": "A123456780"}]), observation()),
    "b-second.json": bundle(patient("Meier"), observation(), observation(7)),
    "c-directory.json": bundle(PRACTITIONER, kind="batch"),
}
BROKEN: dict[str, Any] = {
    "d-nobody.json": bundle(patient(""), observation()),
    "e-dangling.json": bundle(patient("Klein"), observation() | {"performer": [{"reference": "Practitioner?a=b"}]}),
    "f-half.json": '{"resourceType": "Bundle", "entry": [',
    "g-other.json": patient("Allein"),
    "h-year.json": bundle(patient("Jahr", born="1970")),
    "readme.txt": "hello",
}


def folder(path: Path, files: dict[str, Any]) -> Path:
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def taken(tmp_path: Path) -> DataFolder:
    return take(folder(tmp_path / "data", FILES | BROKEN), Clinic(lambda: NIGHT))


def test_each_bundle_with_a_patient_becomes_a_patient(taken: DataFolder) -> None:
    assert [(one.person.given, one.person.family, one.person.birth_date) for one in taken.patients] == [
        ("Änne", "Öztürk", "1970-05-04"),
        ("Änne", "Meier", "1970-05-04"),
    ]
    assert [one.person.kvnr for one in taken.patients] == ["A123456780", None]
    assert [len(one.entries) for one in taken.patients] == [2, 3]


def test_a_directory_is_loaded_before_those_who_refer_to_it(taken: DataFolder) -> None:
    """By its name it comes third; its conditional references would find nothing."""
    assert "a-first.json" not in dict(taken.refused)


def test_nothing_is_passed_over_in_silence(taken: DataFolder) -> None:
    assert dict(taken.refused).keys() == BROKEN.keys() - {"readme.txt"}
    assert dict(taken.refused)["f-half.json"] == dict(taken.refused)["g-other.json"] == "is no FHIR Bundle"
    assert dict(taken.refused)["d-nobody.json"] == dict(taken.refused)["h-year.json"]
    assert taken.ignored == ("readme.txt",)
    assert (taken.bundles, taken.lost) == (5, 2 + 2 + 1)


def test_a_patients_short_name_tells_nothing_of_the_file_and_is_the_same_again(tmp_path: Path) -> None:
    files = folder(tmp_path / "data", FILES)
    one, other = (take(files, Clinic(lambda: NIGHT)) for _ in range(2))
    assert [patient.short for patient in one.patients] == [patient.short for patient in other.patients]
    assert [patient.short[:-6] for patient in one.patients] == ["anne-ozturk-", "anne-meier-"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="--data"):
        take(tmp_path / "nowhere", Clinic(lambda: NIGHT))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The demo with the folder, twice."""
    home = tmp_path_factory.mktemp("data-world")
    files = folder(home / "data", FILES | BROKEN)
    return run(home / "home", files), run(home / "home", files)


def test_every_entry_is_accounted_for(world: tuple[Run, Run]) -> None:
    """Of the two patients that there are, one number was no string; the Bundles that made no patient are missing."""
    for one in world:
        assert one.told["data"] == {
            "bundles": 5,
            "entries": 10,
            "stored": 4,
            "quarantined": 1,
            "missing": 5,
        }


def test_a_patient_of_the_folder_has_one_connection_and_gives_full_consent(world: tuple[Run, Run]) -> None:
    told, ids = world[0].told, world[0].ids
    shorts = [short.strip("<>") for short in ids.values()][3:]
    connections = [row["connection"] for row in told["sources"] if row["connection"].partition("/")[2] in shorts]
    assert connections == [f"klinik-nord/{short}" for short in shorts]
    opened = [(row["name"], row["withheld"]) for row in told["providers"] if ids[row["patient"]].strip("<>") in shorts]
    assert opened == [("Hausarztpraxis Linden", 0)] * 2


def test_without_a_folder_nothing_is_said_of_one(first: Run) -> None:
    assert "data" not in first.told
