"""The Patient compartment of FHIR R4 as data: what is one person's, by which parameter it is found, whose it is.

https://hl7.org/fhir/R4/compartmentdefinition-patient.html, less what tells of many people at once (Group, Schedule) or
of the server rather than the patient (AuditEvent, Person, ResearchSubject).
"""

from __future__ import annotations

PATIENT_PARAMETER: dict[str, str] = {
    "Account": "patient",
    "AdverseEvent": "subject",
    "AllergyIntolerance": "patient",
    "Appointment": "patient",
    "AppointmentResponse": "patient",
    "Basic": "patient",
    "BodyStructure": "patient",
    "CarePlan": "patient",
    "CareTeam": "patient",
    "ChargeItem": "patient",
    "Claim": "patient",
    "ClaimResponse": "patient",
    "ClinicalImpression": "patient",
    "Communication": "patient",
    "CommunicationRequest": "patient",
    "Composition": "patient",
    "Condition": "patient",
    "Consent": "patient",
    "Coverage": "patient",
    "CoverageEligibilityRequest": "patient",
    "CoverageEligibilityResponse": "patient",
    "DetectedIssue": "patient",
    "DeviceRequest": "patient",
    "DeviceUseStatement": "patient",
    "DiagnosticReport": "patient",
    "DocumentManifest": "patient",
    "DocumentReference": "patient",
    "Encounter": "patient",
    "EpisodeOfCare": "patient",
    "ExplanationOfBenefit": "patient",
    "FamilyMemberHistory": "patient",
    "Flag": "patient",
    "Goal": "patient",
    "ImagingStudy": "patient",
    "Immunization": "patient",
    "ImmunizationEvaluation": "patient",
    "ImmunizationRecommendation": "patient",
    "Invoice": "patient",
    "List": "patient",
    "MeasureReport": "patient",
    "Media": "patient",
    "MedicationAdministration": "patient",
    "MedicationDispense": "patient",
    "MedicationRequest": "patient",
    "MedicationStatement": "patient",
    "MolecularSequence": "patient",
    "NutritionOrder": "patient",
    "Observation": "patient",
    "Procedure": "patient",
    "Provenance": "patient",
    "QuestionnaireResponse": "patient",
    "RelatedPerson": "patient",
    "RequestGroup": "patient",
    "RiskAssessment": "patient",
    "ServiceRequest": "patient",
    "Specimen": "patient",
    "SupplyDelivery": "patient",
    "SupplyRequest": "subject",
    "Task": "patient",
    "VisionPrescription": "patient",
}
"""Type -> the search parameter that takes the patient's id."""

DIRECTORY: tuple[str, ...] = (
    "Device",
    "DeviceDefinition",
    "HealthcareService",
    "Location",
    "Medication",
    "Organization",
    "Practitioner",
    "PractitionerRole",
    "Substance",
)
"""What patients' resources refer to and no patient owns; fetched where something that was pulled refers to it."""

SUBJECT_ELEMENTS: dict[str, tuple[str, ...]] = {
    "Appointment": ("participant.actor",),
    "AppointmentResponse": ("actor",),
    "Coverage": ("beneficiary",),
    "Task": ("for",),
}
"""Type -> the elements that say whose a resource is, where those are not `subject` or `patient`."""

USUAL_SUBJECT_ELEMENTS: tuple[str, ...] = ("subject", "patient")
