"""A patient's compartment: what is about this patient, or was done by them. https://hl7.org/fhir/R4/compartmentdefinition.html

Which parameters put a resource into it is R4's own data, in fhir_profiles.structure.
"""

from __future__ import annotations

from dataclasses import dataclass

from aggregator.fhir.clause import Clause, Values, among
from aggregator.fhir.parameters import parameter
from aggregator.fhir.view import View, local_id
from fhir_profiles.structure import compartment

PATIENT = "Patient"
TYPES = frozenset(compartment())

_TERMS = "SELECT tid, size FROM term WHERE scope IN (SELECT value FROM json_each(?)) AND system = ? AND text = ?"
_REFERRING = "SELECT rid FROM posting WHERE tid IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True, kw_only=True)
class InCompartment:
    """The resource is in the compartment of this patient. patient: the whole id."""

    resource_type: str
    patient: str

    @property
    def name(self) -> str:
        """No parameter asked for it: the path did."""
        return PATIENT

    @property
    def alternatives(self) -> int:
        """The parameters are one each."""
        return len(self._scopes())

    def clause(self, view: View) -> Clause:
        """What refers to the patient by one of them; of Patients the patient too."""
        values: Values = [str(self._scopes()), PATIENT, self.patient]
        sizes = dict(view.image.select(_TERMS, values))
        if self.resource_type != PATIENT:
            return among("posting", "tid", [*sizes], sum(sizes.values()))
        rids = {rid for (rid,) in view.image.select(_REFERRING, [str([*sizes])])}
        itself = view.image.find(PATIENT, local_id(view, self.patient) or "")
        rids |= {itself} - {None}
        return among("resource", "rid", sorted(rids), len(rids))

    def _scopes(self) -> list[int]:
        found = (parameter(self.resource_type, name) for name in compartment().get(self.resource_type, ()))
        return [one.scope for one in found if one]
