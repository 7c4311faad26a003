"""Who a patient says to be, and the vault's one Patient that says it (https://hl7.org/fhir/R4/patient.html)."""

from __future__ import annotations

import re
import unicodedata
from datetime import date

from aggregator.consent.mandate import Person, comparable_number
from aggregator.errors import CallerError, within
from aggregator.fhir.outcome import NotValid
from aggregator.fhir.validity import refuse_invalid
from fhir_profiles.codes import KVNR
from fhir_profiles.text import Resource

_LONGEST_NAME = 200  # characters
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_KVNR = re.compile(r"[A-Z]\d{9}", re.ASCII)


def stated(*, family: str, given: str, birth_date: str, kvnr: str | None, today: date) -> Person:
    """The person of a sign-up. Raises CallerError that names the first member that cannot be so, never its value."""
    number = comparable_number(kvnr) if kvnr is not None else None
    if number is not None and not is_kvnr(number):
        raise CallerError.at("kvnr", "a letter and nine digits are needed")
    return Person(
        family=_name("family", family), given=_name("given", given), birth_date=_born(birth_date, today), kvnr=number
    )


def is_kvnr(number: str) -> bool:
    """Has it the form of a statutory insurance number: a letter and nine digits?"""
    return _KVNR.fullmatch(comparable_number(number)) is not None


def resource(whole: str, person: Person) -> Resource:
    """The Patient `whole` (its whole id) for a person. Raises NotValid for what FHIR cannot say."""
    made: Resource = {
        "resourceType": "Patient",
        "id": whole,
        "name": [{"use": "official", "family": person.family, "given": person.given.split()}],
        "birthDate": person.birth_date,
    }
    if person.kvnr:
        made["identifier"] = [{"system": KVNR, "value": person.kvnr}]
    refuse_invalid(made)
    return made


def corrected(said: Resource, whole: str, today: date) -> Resource:
    """The Patient `whole` as its owner says it. Raises NotValid, and CallerError where it does not say who that is."""
    if said.get("resourceType") != "Patient":
        raise NotValid.at("", "a Patient is expected here")
    refuse_invalid(said)
    with within("Patient"):
        told = person(said)
        stated(family=told.family, given=told.given, birth_date=told.birth_date, kvnr=told.kvnr, today=today)
    return said | {"id": whole}


def person(patient: Resource) -> Person:
    """Whom a Patient speaks of, by the official name, else the first. Raises CallerError for no date of birth."""
    names, numbers = patient.get("name", [{}]), patient.get("identifier", [])
    name = next((one for one in names if one.get("use") == "official"), names[0])
    kvnr = next((one["value"] for one in numbers if one.get("system") == KVNR and "value" in one), None)
    family, given, born = name.get("family", ""), " ".join(name.get("given", ())), patient.get("birthDate", "")
    try:
        return Person(family=family, given=given, birth_date=born, kvnr=kvnr)
    except ValueError:
        raise CallerError.at("birth_date", "a date as YYYY-MM-DD is needed") from None


def _name(member: str, text: str) -> str:
    plain = " ".join(text.split())
    if not plain or len(plain) > _LONGEST_NAME or any(unicodedata.category(char) == "Cc" for char in plain):
        raise CallerError.at(member, f"1 to {_LONGEST_NAME} characters are needed, without control characters")
    return plain


def _born(text: str, today: date) -> str:
    """Python takes more forms of a date than FHIR does (2020-W01-1, 20200101)."""
    try:
        right = _DATE.fullmatch(text) is not None and date.fromisoformat(text) <= today
    except ValueError:
        right = False
    if not right:
        raise CallerError.at("birth_date", "a date as YYYY-MM-DD is needed that is not in the future")
    return text
