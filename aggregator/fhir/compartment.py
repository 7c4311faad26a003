"""A patient's compartment: what is about this patient, or was done by them. https://hl7.org/fhir/R4/compartmentdefinition.html

Which parameters put a resource into it is R4's own data, in fhir_profiles.structure.
"""

from __future__ import annotations

from dataclasses import dataclass

from aggregator.fhir.clause import Clause, among, either
from aggregator.fhir.parameters import parameter
from aggregator.fhir.search_types.reference import References
from aggregator.fhir.search_types.terms import TermTest
from aggregator.fhir.view import View, local_id
from fhir_profiles.structure import compartment

PATIENT = "Patient"
TYPES = frozenset(compartment())


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
        named = TermTest(PATIENT, self.patient)
        referring = References(name=self.name, scopes=self._scopes(), tests=(named,)).clause(view)
        itself = view.image.find(PATIENT, local_id(view, self.patient) or "")
        if self.resource_type != PATIENT or itself is None:
            return referring
        return either([referring, among("resource", "rid", [itself], 1)])

    def _scopes(self) -> tuple[int, ...]:
        found = (parameter(self.resource_type, name) for name in compartment().get(self.resource_type, ()))
        return tuple(sorted({scope for one in found if one for scope in one.scopes}))
