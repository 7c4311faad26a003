"""The systems that codes and identifiers come from, as named constants, and the tables of R4 beside them as data.

German ones as the base profiles name them (https://simplifier.net/basisprofil-de-r4), the rest as
https://hl7.org/fhir/R4/terminologies-systems.html does. The JSON files: see generate.py.
"""

from __future__ import annotations

from typing import Final

# --- who and where: identifiers
KVNR: Final = "http://fhir.de/sid/gkv/kvid-10"  # statutory health insurance number, letter and 9 digits
KVNR_PRIVATE: Final = "http://fhir.de/sid/pkv/kvid-10"  # the same form, given by a private insurer
IKNR: Final = "http://fhir.de/sid/arge-ik/iknr"  # institution: insurer, hospital, pharmacy
LANR: Final = "https://fhir.kbv.de/NamingSystem/KBV_NS_Base_ANR"  # physician
BSNR: Final = "https://fhir.kbv.de/NamingSystem/KBV_NS_Base_BSNR"  # practice site
TELEMATIK_ID: Final = "https://gematik.de/fhir/sid/telematik-id"
URI: Final = "urn:ietf:rfc:3986"  # identifiers that are themselves URIs
GIVEN_HERE: Final = "https://aggregator.example/fhir/sid/"  # what begins so, this service alone gives
RECORD: Final = "https://aggregator.example/fhir/sid/record"  # a person with a record here, by its vault's id
APP_AUTHORIZATION: Final = "https://aggregator.example/fhir/sid/app-authorization"  # one approval of one app
PARTY_CLASS: Final = "https://aggregator.example/fhir/sid/party-class"  # all of a kind: "provider", "payer"

# --- what: diagnoses, procedures, drugs, measurements
ICD_10_GM: Final = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
OPS: Final = "http://fhir.de/CodeSystem/bfarm/ops"
ATC: Final = "http://fhir.de/CodeSystem/bfarm/atc"
PZN: Final = "http://fhir.de/CodeSystem/ifa/pzn"
ASK: Final = "http://fhir.de/CodeSystem/ask"  # active ingredients
LOINC: Final = "http://loinc.org"
UCUM: Final = "http://unitsofmeasure.org"
KDL: Final = "http://dvmd.de/fhir/CodeSystem/kdl"  # kinds of clinical documents
EDQM: Final = "http://standardterms.edqm.eu"  # dose forms, routes

# --- German helpers
IDENTIFIER_TYPE_DE: Final = "http://fhir.de/CodeSystem/identifier-type-de-basis"
INSURANCE_KIND_DE: Final = "http://fhir.de/CodeSystem/versicherungsart-de-basis"

# --- HL7 terminology
_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem/"
ACT_CODE: Final = _TERMINOLOGY + "v3-ActCode"
ACT_REASON: Final = _TERMINOLOGY + "v3-ActReason"  # purposes of use
CONFIDENTIALITY: Final = _TERMINOLOGY + "v3-Confidentiality"
OBSERVATION_VALUE: Final = _TERMINOLOGY + "v3-ObservationValue"
PARTICIPATION_TYPE: Final = _TERMINOLOGY + "v3-ParticipationType"
ROLE_CODE: Final = _TERMINOLOGY + "v3-RoleCode"
DATA_OPERATION: Final = _TERMINOLOGY + "v3-DataOperation"
IDENTIFIER_TYPE: Final = _TERMINOLOGY + "v2-0203"
DIAGNOSTIC_SERVICE: Final = _TERMINOLOGY + "v2-0074"
INTERPRETATION: Final = _TERMINOLOGY + "v3-ObservationInterpretation"
OBSERVATION_CATEGORY: Final = _TERMINOLOGY + "observation-category"
CONDITION_CATEGORY: Final = _TERMINOLOGY + "condition-category"
CONDITION_CLINICAL: Final = _TERMINOLOGY + "condition-clinical"
CONDITION_VERIFICATION: Final = _TERMINOLOGY + "condition-ver-status"
ALLERGY_CLINICAL: Final = _TERMINOLOGY + "allergyintolerance-clinical"
ALLERGY_VERIFICATION: Final = _TERMINOLOGY + "allergyintolerance-verification"
CONSENT_SCOPE: Final = _TERMINOLOGY + "consentscope"
DATA_ABSENT_REASON: Final = _TERMINOLOGY + "data-absent-reason"
PROVENANCE_AGENT: Final = _TERMINOLOGY + "provenance-participant-type"
AUDIT_EVENT_TYPE: Final = _TERMINOLOGY + "audit-event-type"
CLAIM_TYPE: Final = _TERMINOLOGY + "claim-type"
ADJUDICATION: Final = _TERMINOLOGY + "adjudication"
