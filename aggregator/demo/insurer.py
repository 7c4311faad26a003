"""The demo's health insurer: what it knows of an insured person, over FHIR REST, to read alone.

Patient, Coverage, ExplanationOfBenefit and Organization, as in CARIN Blue Button
(https://hl7.org/fhir/us/carin-bb/). No history, no SMART backend services: a bearer token for each insured person.
"""

from __future__ import annotations

from aggregator.demo.fhir_server.capability import Offer
from aggregator.demo.fhir_server.server import FhirServer
from connectors.contract import Clock

TYPES = frozenset({"Patient", "Coverage", "ExplanationOfBenefit", "Organization"})


class Insurer(FhirServer):
    """An insurer."""

    def __init__(self, clock: Clock, *, title: str = "Muster-Krankenkasse") -> None:
        offer = Offer(title=title, types=TYPES, history=False, writes=False, backend_services=False)
        super().__init__(clock, offer)
