"""A hospital or practice that speaks FHIR R4 over REST: everything in one patient's compartment.

https://hl7.org/fhir/R4/http.html. How it is pulled: connectors/fhir_account.py. A vendor is a row of settings.
"""

from __future__ import annotations

from datetime import timedelta

from connectors.contract import ConnectorSpec, Kind
from connectors.fhir_account import FhirAccount
from connectors.fhir_settings import FhirAccountSettings
from connectors.patient_compartment import DIRECTORY, PATIENT_PARAMETER

SPEC = ConnectorSpec(
    name="clinic_fhir",
    version="1.0.0",
    title="Hospital or practice (FHIR R4)",
    config=FhirAccountSettings,
    connect=FhirAccount,
    kind=Kind.ACCOUNT,
    resource_types=("Patient", *PATIENT_PARAMETER, *DIRECTORY),
    incremental=True,
    reports_deletions=True,
    min_interval=timedelta(minutes=5),
    account=frozenset({"patient_id", "bearer_token"}),
    account_id="patient_id",
)
