"""The CapabilityStatement tells what it is given, and of searches what their tables hold."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from aggregator.fhir.capability import Served, Software, capability
from fhir_profiles.text import loads
from tests.fhir.world import BASE, assert_golden

SERVICES = "http://terminology.hl7.org/CodeSystem/restful-security-service"
NOW = datetime(2026, 11, 20, 3, 12, 44, tzinfo=ZoneInfo("Europe/Berlin"))
SOFTWARE = Software(name="Patient record aggregator", version="0.1.0", changed=NOW)
SECURITY = {"service": [{"coding": [{"system": SERVICES, "code": "SMART-on-FHIR"}]}]}
WHOLE = Served(resource_type="", interactions=("capabilities", "search-system"))


def test_it_tells_what_it_is_given() -> None:
    everything = {"everything": "http://hl7.org/fhir/OperationDefinition/Patient-everything|4.0.1"}
    served = [
        Served(resource_type="Consent", interactions=("create", "update"), claims={"versioning": "versioned"}),
        Served(resource_type="Patient", interactions=("read",), operations=everything),
    ]
    assert_golden(capability(SOFTWARE, BASE, served, WHOLE, SECURITY), "capability")


def test_it_tells_of_a_search_what_its_tables_hold() -> None:
    served = [Served(resource_type=name, interactions=("search-type",)) for name in ("Encounter", "Patient")]
    told, patient = loads(capability(SOFTWARE, BASE, served, WHOLE, SECURITY))["rest"][0]["resource"]
    assert {"name": "date", "type": "date"} in told["searchParam"]
    assert {"name": "patient", "type": "reference", "documentation": "chains into Patient"} in told["searchParam"]
    assert "Encounter:subject" in told["searchInclude"]
    assert "Encounter:patient" in patient["searchRevInclude"]
