"""Codes in plain words, German and English: what a Consent, a dry run or a receipt names.

What is not listed is told by its code. The displays at https://hl7.org/fhir/R4/ are for those who make software.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aggregator.consent.decide import Reason
from aggregator.consent.section_table import Coding
from fhir_profiles.codes import ACT_CODE, CONFIDENTIALITY, PARTY_CLASS

Words = tuple[str, str]
"""German, English."""

PURPOSES: Final[Mapping[str, Words]] = {
    "TREAT": ("Behandlung", "treatment"),
    "ETREAT": ("Behandlung im Notfall", "treatment in an emergency"),
    "BTG": ("Notfallzugriff ohne Rückfrage", "emergency access without asking"),
    "COC": ("Abstimmung der Behandlung", "coordination of care"),
    "HPAYMT": ("Abrechnung", "payment"),
    "HOPERAT": ("Verwaltung", "administration"),
    "HRESCH": ("Forschung", "research"),
    "HMARKT": ("Werbung", "marketing"),
    "PATRQT": ("auf Ihren Wunsch", "at your request"),
    "FAMRQT": ("auf Wunsch der Familie", "at the family's request"),
    "PUBHLTH": ("öffentliche Gesundheit", "public health"),
}
"""Purpose of use -> what it means."""

ACTIONS: Final[Mapping[str, Words]] = {
    "access": ("lesen", "read"),
    "use": ("verwenden", "use"),
    "disclose": ("weitergeben", "pass on"),
    "collect": ("eintragen", "add"),
    "correct": ("berichtigen", "correct"),
}
"""Consent action -> what it means."""

TYPES: Final[Mapping[str, Words]] = {
    "AllergyIntolerance": ("Allergien", "allergies"),
    "CarePlan": ("Behandlungspläne", "care plans"),
    "Communication": ("Mitteilungen", "messages"),
    "Condition": ("Diagnosen", "diagnoses"),
    "Coverage": ("Versicherungen", "insurance cover"),
    "DiagnosticReport": ("Befundberichte", "reports"),
    "DocumentReference": ("Dokumente", "documents"),
    "Encounter": ("Besuche", "visits"),
    "ExplanationOfBenefit": ("Abrechnungen", "bills"),
    "Immunization": ("Impfungen", "immunizations"),
    "MedicationRequest": ("Verordnungen", "prescriptions"),
    "MedicationStatement": ("Medikamente", "medicines"),
    "Observation": ("Messwerte", "measurements"),
    "Organization": ("Einrichtungen", "organizations"),
    "Patient": ("Angaben zur Person", "personal details"),
    "Practitioner": ("Behandelnde", "practitioners"),
    "Procedure": ("Eingriffe", "procedures"),
}
"""Resource type -> what people call many of them."""

CLASSES: Final[Mapping[Coding, Words]] = {
    (PARTY_CLASS, "provider"): ("jede hier angemeldete Praxis oder Klinik", "any practice or hospital registered here"),
    (PARTY_CLASS, "payer"): ("jeder hier angemeldete Kostenträger", "any payer registered here"),
}
"""A class of grantees -> what it means."""

LABELS: Final[Mapping[Coding, Words]] = {
    (ACT_CODE, "GDIS"): ("Genetik", "genetics"),
    (ACT_CODE, "ETH"): ("Sucht und Substanzgebrauch", "substance use"),
    (ACT_CODE, "SUD"): ("Sucht und Substanzgebrauch", "substance use"),
    (ACT_CODE, "MH"): ("psychische Gesundheit", "mental health"),
    (ACT_CODE, "PSY"): ("Psychiatrie", "psychiatry"),
    (ACT_CODE, "SEX"): ("sexuelle Gesundheit", "sexual health"),
    (ACT_CODE, "HIV"): ("HIV", "HIV"),
    (ACT_CODE, "VIO"): ("Gewalt", "violence"),
    (CONFIDENTIALITY, "N"): ("üblich vertraulich", "normally confidential"),
    (CONFIDENTIALITY, "R"): ("besonders vertraulich", "restricted"),
    (CONFIDENTIALITY, "V"): ("streng vertraulich", "very restricted"),
}
"""Security label -> what it means."""

REASONS: Final[Mapping[Reason, Words]] = {
    Reason.NO_CONSENT: ("es gibt keine gültige Einwilligung", "there is no consent in effect"),
    Reason.NOT_NAMED: ("keine Einwilligung nennt diesen Empfänger", "no consent names this party"),
    Reason.NOT_IN_FORCE: ("die Einwilligung gilt jetzt nicht", "the consent is not in force now"),
    Reason.PURPOSE: ("die Einwilligung gilt nicht für diesen Zweck", "the consent is not for this purpose"),
    Reason.NOT_OPENED: ("die Einwilligung umfasst das nicht", "the consent does not cover this"),
    Reason.PAYER: ("Kostenträger sehen nur ihre Abrechnungen", "payers see their claims alone"),
    Reason.SENSITIVE: ("es ist besonders geschützt und nicht genannt", "it is specially protected and was not named"),
    Reason.OWNER_ONLY: ("es ist für Sie allein", "it is for you alone"),
    Reason.REFUSED: ("Sie haben es ausgenommen", "you have excluded it"),
}
"""Why something stays hidden."""
