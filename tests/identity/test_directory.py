"""A directory file of providers and payers: who can be named, as what, and which file is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aggregator.consent.decide import PartyKind
from aggregator.errors import OperatorError
from aggregator.identity.directory import Entry, read

pytestmark = pytest.mark.storeless

LANR = "https://fhir.kbv.de/NamingSystem/KBV_NS_Base_ANR"
BSNR = "https://fhir.kbv.de/NamingSystem/KBV_NS_Base_BSNR"
IK = "http://fhir.de/sid/arge-ik/iknr"
TELEMATIK = "https://gematik.de/fhir/sid/telematik-id"

DR_B = {
    "resourceType": "Practitioner",
    "id": "b",
    "identifier": [{"system": LANR, "value": "123456701"}, {"system": TELEMATIK, "value": "1-20012345678"}],
    "name": [{"prefix": ["Dr. med."], "given": ["Bettina"], "family": "Brandt"}],
}
PRACTICE = {
    "resourceType": "Organization",
    "id": "praxis",
    "identifier": [{"system": BSNR, "value": "012345600"}],
    "name": "Hausarztpraxis am Markt",
    "type": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/organization-type", "code": "prov"}]}],
}
PAYER = {
    "resourceType": "Organization",
    "id": "kasse",
    "identifier": [{"system": IK, "value": "109999999"}],
    "name": "Nordlicht Krankenkasse",
    "type": [
        {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/organization-type", "code": "pay"}],
            "text": "Krankenkasse",
        }
    ],
}
ROLE = {
    "resourceType": "PractitionerRole",
    "id": "b-praxis",
    "practitioner": {"reference": "Practitioner/b"},
    "organization": {"reference": "Organization/praxis"},
    "specialty": [{"coding": [{"display": "Allgemeinmedizin"}]}],
}
WHOLE = [DR_B, PRACTICE, PAYER, ROLE]
EXPECTED = {
    "Practitioner/b": Entry(
        id="Practitioner/b",
        name="Dr. med. Bettina Brandt",
        role="Allgemeinmedizin, Hausarztpraxis am Markt",
        kind=PartyKind.PROVIDER,
        identifiers=frozenset({(LANR, "123456701"), (TELEMATIK, "1-20012345678")}),
    ),
    "Organization/praxis": Entry(
        id="Organization/praxis",
        name="Hausarztpraxis am Markt",
        role="",
        kind=PartyKind.PROVIDER,
        identifiers=frozenset({(BSNR, "012345600")}),
    ),
    "Organization/kasse": Entry(
        id="Organization/kasse",
        name="Nordlicht Krankenkasse",
        role="Krankenkasse",
        kind=PartyKind.PAYER,
        identifiers=frozenset({(IK, "109999999")}),
    ),
}


def bundle(*resources: dict[str, Any], urls: bool = False) -> str:
    entries = [{"resource": one} | ({"fullUrl": f"urn:uuid:{one['id']}"} if urls else {}) for one in resources]
    return json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries})


def test_a_bundle(tmp_path: Path) -> None:
    file = tmp_path / "directory.json"
    file.write_text(bundle(*WHOLE))
    assert read([file]) == EXPECTED


def test_a_bundle_whose_resources_are_known_by_full_urls(tmp_path: Path) -> None:
    role = ROLE | {"practitioner": {"reference": "urn:uuid:b"}, "organization": {"reference": "urn:uuid:praxis"}}
    file = tmp_path / "directory.json"
    file.write_text(bundle(DR_B, PRACTICE, PAYER, role, urls=True))
    assert read([file]) == EXPECTED


def test_lines_of_resources(tmp_path: Path) -> None:
    file = tmp_path / "directory.ndjson"
    file.write_text("\n".join(json.dumps(one) for one in WHOLE) + "\n\n")
    assert read([file]) == EXPECTED


def test_several_files_are_one_directory(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_text(bundle(DR_B, ROLE, PRACTICE))
    second.write_text(bundle(PAYER))
    assert read([first, second]) == EXPECTED


def test_who_is_marked_as_inactive_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "directory.json"
    file.write_text(bundle(DR_B | {"active": False}, PAYER | {"active": True}))
    assert list(read([file])) == ["Organization/kasse"]


def test_other_resources_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "directory.json"
    file.write_text(bundle(PAYER, {"resourceType": "Location", "id": "x"}))
    assert list(read([file])) == ["Organization/kasse"]


WRONG = {
    "is no FHIR Bundle and no NDJSON": [
        "",
        "[]",
        "{}",
        "5",
        '{"resourceType": "Bundle"}',
        '{"resourceType": "Practitioner"}',
    ],
    "Practitioner/b has no name, or no identifier": [
        bundle(DR_B | {"name": []}),
        bundle(DR_B | {"identifier": []}),
        bundle(DR_B | {"identifier": [{"value": "1"}]}),
        bundle({name: value for name, value in DR_B.items() if name != "identifier"}),
    ],
    "PractitionerRole/b-praxis has no practitioner": [bundle(ROLE)],
}


@pytest.mark.parametrize(("told", "text"), [(told, text) for told, texts in WRONG.items() for text in texts])
def test_what_cannot_be_read_stops_the_start_with_the_settings_name(tmp_path: Path, told: str, text: str) -> None:
    file = tmp_path / "directory.json"
    file.write_text(text)
    with pytest.raises(OperatorError, match=f"^parties.directory_files.0: {file}:? {told}"):
        read([file])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"^parties.directory_files.0: .*gone.json is not there"):
        read([tmp_path / "gone.json"])


def test_an_id_belongs_to_one(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    for file in (first, second):
        file.write_text(bundle(PAYER))
    with pytest.raises(OperatorError, match=r"^parties.directory_files.1: .* Organization/kasse is there twice"):
        read([first, second])
