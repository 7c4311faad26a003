"""The insurer's recorded cases: recorded/ in, expected/ out."""

from pathlib import Path

from connectors import conformance
from connectors.insurer_fhir import SPEC

TestInsurerFhir = conformance.suite(SPEC, Path(__file__).parent / "insurer_fhir")
