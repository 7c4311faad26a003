"""The demo's hospital: a FHIR R4 server with everything its patients' connectors can meet in the wild.

https://hl7.org/fhir/R4/http.html. It takes Bundles as any FHIR server does, serves reads, searches, pages and
histories, and lets in patients by bearer token and backend services by SMART.
"""

from __future__ import annotations

from aggregator.demo.fhir_server.capability import Offer
from aggregator.demo.fhir_server.server import FhirServer
from connectors.contract import Clock


class Clinic(FhirServer):
    """A clinic. Without `history` its clients learn of deletions from a full listing alone."""

    def __init__(self, clock: Clock, *, title: str = "Klinik Nord", history: bool = True) -> None:
        super().__init__(clock, Offer(title=title, history=history))
