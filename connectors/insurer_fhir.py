"""A health insurer that speaks FHIR R4 over REST: cover and statements of benefits, as CARIN Blue Button has them.

https://hl7.org/fhir/us/carin-bb/STU2.1/. Gaps in an adjudication are normal there and stay gaps. How it is pulled:
connectors/fhir_account.py.
"""

from __future__ import annotations

from datetime import timedelta

from connectors.contract import ConnectorSpec, Kind
from connectors.fhir_account import FhirAccount
from connectors.fhir_settings import FhirAccountSettings, ResourceTypes
from connectors.patient_compartment import DIRECTORY, PATIENT_PARAMETER


class InsurerFhirSettings(FhirAccountSettings):
    """The settings of every FHIR account; what is pulled is the insurance, and who is named in it."""

    resource_types: ResourceTypes = (
        "Coverage",
        "ExplanationOfBenefit",
        "Location",
        "Organization",
        "Practitioner",
        "PractitionerRole",
    )


SPEC = ConnectorSpec(
    name="insurer_fhir",
    version="1.0.0",
    title="Health insurer (FHIR R4)",
    config=InsurerFhirSettings,
    connect=FhirAccount,
    kind=Kind.ACCOUNT,
    resource_types=("Patient", *PATIENT_PARAMETER, *DIRECTORY),
    incremental=True,
    reports_deletions=True,
    min_interval=timedelta(hours=1),
    account=frozenset({"patient_id", "bearer_token"}),
    account_id="patient_id",
)
