"""The tables of R4 against the models of fhir.resources: where they differ is known, and why."""

from __future__ import annotations

import pytest

from fhir_profiles import model, r4b, structure

XHTML = {"Narrative": {"_div"}}  # xhtml has no extensions, whatever the models say
# The StructureDefinitions of these hold fewer codes than one would think, because the value set is open.
OPEN = {"mimetypes", "ucum-units", "http://loinc.org/vs/LL379-9"}


def types() -> list[str]:
    return sorted(structure.NAMES - structure.PRIMITIVES)


def written(name: str) -> set[str]:
    """Every JSON member that our table of a type knows."""
    members: set[str] = set()
    for element in structure.type_of(name).elements.values():
        members |= {element.name, "_" + element.name} if element.has_sibling else {element.name}
    return members


def wrongly_refused(name: str) -> set[str]:
    """What model.py works round: `_id` of a resource, `_value...` of an Extension."""
    if name == "Extension":
        return {member for member in written(name) if member.startswith("_value")}
    return {"_id"} if structure.type_of(name).kind == "resource" else set()


def test_the_numbers_of_r4() -> None:
    assert len(structure.RESOURCES) == 146
    assert len(structure.PRIMITIVES) == 20


@pytest.mark.parametrize("name", types())
def test_the_models_say_the_same_but_for_what_r4b_has_otherwise(name: str) -> None:
    whole = name.split(".")[0]
    if whole in r4b.ONLY_R4:
        with pytest.raises(model.NoModel):
            model.elements(name)
    elif whole not in r4b.REDESIGNED:
        ours, theirs = written(name) - wrongly_refused(name), set(model.elements(name)) - XHTML.get(name, set())
        assert ours - theirs == set(r4b.ELEMENTS_ONLY_R4.get(name, ()))
        assert {one.lstrip("_") for one in theirs - ours} == set(r4b.ELEMENTS_ONLY_R4B.get(name, ()))


def test_what_is_only_in_one_is_not_in_the_other() -> None:
    assert r4b.ONLY_R4 | r4b.REDESIGNED <= structure.NAMES
    assert not r4b.ONLY_R4B & structure.NAMES
    for name in r4b.ONLY_R4B:
        assert model.elements(name)


def test_every_required_value_set_is_whole_or_known_to_be_open() -> None:
    bound = {one.value_set for name in structure.NAMES for one in structure.type_of(name).elements.values()} - {""}
    assert {name for name in bound if not structure.codes(name)} == OPEN


def test_codes_and_concepts() -> None:
    assert structure.codes("administrative-gender") == {"male", "female", "other", "unknown"}
    assert ("http://terminology.hl7.org/CodeSystem/condition-clinical", "relapse") in structure.concepts(
        "condition-clinical"
    )


def test_an_element() -> None:
    assert structure.type_of("Observation.component").elements["valueQuantity"] == structure.Element(
        name="valueQuantity",
        type="Quantity",
        least=0,
        most=1,
        choice="value[x]",
        value_set="",
        attribute=False,
        summary=True,
        modifier=False,
    )
    assert structure.type_of("Observation").elements["status"].modifier
    assert not structure.type_of("Observation").elements["note"].summary
    assert structure.type_of("Observation").bases == ("DomainResource", "Resource")
    assert list(structure.type_of("Observation").elements)[:5] == ["id", "meta", "implicitRules", "language", "text"]


def test_the_patient_compartment() -> None:
    assert structure.compartment()["Observation"] == ("subject", "performer")
    assert "Practitioner" not in structure.compartment()
    assert set(structure.compartment()) < structure.RESOURCES


def test_an_unknown_type() -> None:
    with pytest.raises(KeyError):
        structure.type_of("Ingredient")
