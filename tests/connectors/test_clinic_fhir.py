"""The clinic's recorded cases: recorded/ in, expected/ out."""

from pathlib import Path

from connectors import conformance
from connectors.clinic_fhir import SPEC

TestClinicFhir = conformance.suite(SPEC, Path(__file__).parent / "clinic_fhir")
