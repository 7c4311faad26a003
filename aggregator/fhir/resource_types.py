"""The resource types that are served: those of FHIR R4 but for what is only ever an answer or a question here."""

from __future__ import annotations

from fhir_profiles.structure import RESOURCES

_NOT_STORED = frozenset({"Parameters", "OperationOutcome", "CapabilityStatement"})
TYPES = frozenset(RESOURCES) - _NOT_STORED
