"""The scopes that an app asks a patient for, read into parts that the patient can leave or take away.

https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html, version 2; those of version 1 are read as they are
meant there. What would write is not granted: it is told as refused. `user/` reaches what `patient/` does: the record of
whoever approves. A granular scope has one parameter, `category` or `code`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from aggregator.consent.section_table import Coding
from fhir_profiles.codes import CONDITION_CATEGORY, OBSERVATION_CATEGORY
from fhir_profiles.structure import RESOURCES

OPENID, FHIR_USER = "openid", "fhirUser"
LAUNCH, LAUNCH_PATIENT = "launch", "launch/patient"
OFFLINE, ONLINE = "offline_access", "online_access"
PLAIN = (OPENID, FHIR_USER, LAUNCH, LAUNCH_PATIENT, OFFLINE, ONLINE)
"""Scopes that open nothing of a record by themselves."""

CONTEXTS = ("patient", "user")
EVERY = "*"
_SCOPE = re.compile(r"(patient|user)/(\*|[A-Z][A-Za-z]+)\.(read|write|\*|c?r?u?d?s?)(?:\?(.+))?")
_VERSION_1 = {"read": "rs", "write": "", "*": "rs"}
_PARAMETERS = ("category", "code")
_CATEGORIES = {"Observation": OBSERVATION_CATEGORY, "Condition": CONDITION_CATEGORY}
"""The system that a category without one is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One scope to read. resource_type: EVERY for all. codes: if any, one of them must say what the resource is.

    text: the scope as it is granted.
    """

    text: str
    resource_type: str
    codes: tuple[Coding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an app asks for. plain: of PLAIN. refused: what it would not be given whatever the patient says."""

    reading: tuple[Reading, ...]
    plain: tuple[str, ...]
    refused: tuple[str, ...]

    def granted(self, reading: tuple[Reading, ...]) -> tuple[str, ...]:
        """The scopes of a token, where the patient leaves these."""
        return (*self.plain, *(one.text for one in reading))


def read(requested: str) -> Asked:
    """The scopes of a request. Never raises: what is not understood is refused by name."""
    reading, plain, refused = dict[str, Reading](), list[str](), list[str]()
    for text in dict.fromkeys(requested.split()):
        one = _reading(text)
        if one is not None:
            reading[one.text] = one
        if text in PLAIN:
            plain.append(text)
        elif one is None or not _only_reads(text):
            refused.append(text)
    return Asked(reading=tuple(reading.values()), plain=tuple(plain), refused=tuple(refused))


def _reading(text: str) -> Reading | None:
    match = _SCOPE.fullmatch(text)
    if match is None or match[2] not in {EVERY, *RESOURCES}:
        return None
    letters = _VERSION_1.get(match[3], "".join(letter for letter in match[3] if letter in "rs"))
    codes = _codes(match[2], match[4]) if match[4] else ()
    if not letters or codes is None:
        return None
    query = f"?{match[4]}" if match[4] else ""
    return Reading(text=f"{match[1]}/{match[2]}.{letters}{query}", resource_type=match[2], codes=codes)


def _only_reads(text: str) -> bool:
    """Is all that it says granted? `patient/*.*` asks for writing as well."""
    match = _SCOPE.fullmatch(text)
    return match is not None and (match[3] == "read" or set(match[3]) <= set("rs"))


def _codes(resource_type: str, query: str) -> tuple[Coding, ...] | None:
    """The codes of a granular scope's one parameter; None for one that is not understood."""
    try:
        ((name, value),) = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        return None
    known = _CATEGORIES.get(resource_type, "") if name == "category" else ""
    codes = []
    for token in value.split(","):
        system, divided, code = token.rpartition("|")
        codes.append((system if divided else known, code))
    return tuple(codes) if name in _PARAMETERS and all(map(all, codes)) else None
