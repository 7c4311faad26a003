"""Who a patient says to be, and the vault's one Patient that says it (https://hl7.org/fhir/R4/patient.html)."""

from __future__ import annotations

import re
import unicodedata
from datetime import date

from aggregator.consent.mandate import Person, comparable_number
from aggregator.errors import CallerError, Invalid
from fhir_profiles.check import check
from fhir_profiles.codes import KVNR
from fhir_profiles.text import Resource

_LONGEST_NAME = 200  # characters
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_KVNR = re.compile(r"[A-Z]\d{9}", re.ASCII)


def stated(*, family: str, given: str, birth_date: str, kvnr: str | None, today: date) -> Person:
    """The person of a sign-up. Raises CallerError that names the first member that cannot be so, never its value."""
    number = comparable_number(kvnr) if kvnr is not None else None
    if number is not None and not is_kvnr(number):
        raise CallerError("kvnr: a letter and nine digits are needed")
    return Person(
        family=_name("family", family), given=_name("given", given), birth_date=_born(birth_date, today), kvnr=number
    )


def is_kvnr(number: str) -> bool:
    """Has it the form of a statutory insurance number: a letter and nine digits?"""
    return _KVNR.fullmatch(comparable_number(number)) is not None


def resource(whole: str, person: Person) -> Resource:
    """The Patient `whole` (its whole id) for a person. Raises Invalid for what FHIR cannot say."""
    made: Resource = {
        "resourceType": "Patient",
        "id": whole,
        "name": [{"use": "official", "family": person.family, "given": person.given.split()}],
        "birthDate": person.birth_date,
    }
    if person.kvnr:
        made["identifier"] = [{"system": KVNR, "value": person.kvnr}]
    if found := errors(made):
        raise Invalid(tuple(found))
    return made


def person(patient: Resource) -> Person:
    """Whom a Patient that `resource` made speaks of."""
    name, numbers = patient["name"][0], patient.get("identifier", [])
    kvnr = next((one["value"] for one in numbers if one["system"] == KVNR), None)
    return Person(family=name["family"], given=" ".join(name["given"]), birth_date=patient["birthDate"], kvnr=kvnr)


def errors(made: Resource) -> list[str]:
    """What keeps a resource from being valid FHIR: one sentence each."""
    return [f"{issue.expression}: {issue.text}" for issue in check(made) if issue.severity == "error"]


def _name(member: str, text: str) -> str:
    plain = " ".join(text.split())
    if not plain or len(plain) > _LONGEST_NAME or any(unicodedata.category(char) == "Cc" for char in plain):
        raise CallerError(f"{member}: 1 to {_LONGEST_NAME} characters are needed, without control characters")
    return plain


def _born(text: str, today: date) -> str:
    """Python takes more forms of a date than FHIR does (2020-W01-1, 20200101)."""
    try:
        right = _DATE.fullmatch(text) is not None and date.fromisoformat(text) <= today
    except ValueError:
        right = False
    if not right:
        raise CallerError("birth_date: a date as YYYY-MM-DD is needed that is not in the future")
    return text
