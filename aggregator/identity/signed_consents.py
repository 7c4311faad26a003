"""The owner's Consents: who may read what, which is nobody else's business (https://hl7.org/fhir/R4/consent.html)."""

from __future__ import annotations

from collections.abc import Sequence

from aggregator.fhir import validity
from aggregator.fhir.outcome import NotValid
from aggregator.identity.accounts import Owner
from aggregator.vault.envelope import Put
from aggregator.vault.fold import State, Version
from aggregator.vault.keys import IMPORTED, OWNER
from fhir_profiles.text import Resource, loads

SECTION = "unsorted"
"""Where they lie: the owner's alone."""


def current(state: State) -> list[Resource]:
    """Every current Consent that the owner signed here, whatever its status: not one that was only imported."""
    return [
        loads(versions[-1].operation.resource)
        for versions in state.sections.get(SECTION, {}).values()
        if is_own(versions) and versions[-1].writer == OWNER and isinstance(versions[-1].operation, Put)
    ]


def is_own(versions: Sequence[Version]) -> bool:
    """May the owner sign it: was it the owner's from the beginning, here or in an earlier installation?"""
    return bool(versions) and all(
        version.writer in (OWNER, IMPORTED) and version.operation.resource_type == "Consent" for version in versions
    )


def refuse_invalid(owner: Owner, consent: Resource) -> None:
    """Raises NotValid for what is no Consent about the owner's own record."""
    if consent.get("resourceType") != "Consent":
        raise NotValid.at("", "a Consent is expected here")
    validity.refuse_invalid(consent)
    named = consent.get("patient", {}).get("reference")
    if named is not None and named != f"Patient/{owner.whole_patient}":
        raise NotValid.at("Consent.patient", "names somebody else than the owner of this vault")
