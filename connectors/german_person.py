"""What German practice formats (xDT, medication plan) say of a person in the same way, and what it is in FHIR."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from connectors.contract import Identifier, Subject
from fhir_profiles.build import Part, coding, present
from fhir_profiles.codes import KVNR

_KVNR_FORM = re.compile(r"[A-Z][0-9]{9}")
_DAY = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
_GENDER = {"M": "male", "W": "female", "D": "other", "X": "other", "U": "unknown"}
_GENDER_EXTENSION = "http://fhir.de/StructureDefinition/gender-amtlich-de"
_GENDER_SYSTEM = "http://fhir.de/CodeSystem/gender-amtlich-de"
_NAME_PARTS = {
    "addition": "http://fhir.de/StructureDefinition/humanname-namenszusatz",
    "prefix": "http://hl7.org/fhir/StructureDefinition/humanname-own-prefix",
    "name": "http://hl7.org/fhir/StructureDefinition/humanname-own-name",
}
_WHOLE_DAY = len("2026-01-31")


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A name in the parts that German formats have: "Freiherr", "von", "Grünwald"; titles are "Dr."."""

    addition: str = ""
    prefix: str = ""
    name: str
    given: tuple[str, ...]
    titles: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """The whole family name, "Freiherr von Grünwald"."""
        return " ".join(part for part in (self.addition, self.prefix, self.name) if part)

    def human_name(self) -> list[Part]:
        """As Patient.name, the parts of a compound family name beside it; empty where there is no name."""
        told = {part: getattr(self, part) for part in _NAME_PARTS}
        compound = self.addition or self.prefix
        parts = [{"url": url, "valueString": told[part]} for part, url in _NAME_PARTS.items() if told[part]]
        made = present(
            family=self.family,
            _family=present(extension=parts) if compound else {},
            given=[given for given in self.given if given],
            prefix=[title for title in self.titles if title],
        )
        return [{"use": "official"} | made] if made else []


def subject(*, insurance_number: str, name: Name, birth_date: str) -> Subject | None:
    """Whose something is. birth_date as `day` gives it.

    None unless there is an insurance number of the right form, or a whole name with a whole birth date.
    """
    identifiers = (Identifier(KVNR, insurance_number),) if _KVNR_FORM.fullmatch(insurance_number) else ()
    given = " ".join(part for part in name.given if part)
    named = name.family and given and len(birth_date) == _WHOLE_DAY
    if not (identifiers or named):
        return None
    return Subject(identifiers=identifiers, family=name.family, given=given, birth_date=birth_date)


def day(told: str) -> str:
    """YYYYMMDD as a FHIR date; 00 for an unknown day or month shortens it. Empty where it is no date."""
    found = _DAY.fullmatch(told)
    if found is None:
        return ""
    year, month, of_month = found.groups()
    known = [year] if month == "00" else [year, month] if of_month == "00" else [year, month, of_month]
    try:
        date(int(year), int(month) or 1, int(of_month) or 1)
    except ValueError:
        return ""
    return "-".join(known)


def gender(told: str) -> Part:
    """Patient.gender for M, W, D, X, U; D and X, which FHIR does not tell apart, with the German extension."""
    known = _GENDER.get(told)
    if known != "other":
        return {"gender": known} if known else {}
    exact = {"url": _GENDER_EXTENSION, "valueCoding": coding(_GENDER_SYSTEM, told)}
    return {"gender": known, "_gender": {"extension": [exact]}}
