"""FHIRPath Patch: what each operation does, what is refused, and what no operation touches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.fhir.fhirpath_patch import patch
from aggregator.fhir.json_patch import MOST_OPERATIONS
from aggregator.fhir.outcome import BadPatch, PatchFailed
from fhir_profiles.check import check
from fhir_profiles.text import Resource, dumps, loads

PATIENT = b"""{"resourceType":"Patient","id":"k3.p","name":[{"family":"Muster","given":["Erika","Anna"]},
{"use":"nickname","given":["Eri"]}],"birthDate":"1964-08-12","multipleBirthInteger":2,
"contact":[{"name":{"family":"Muster"},"gender":"male"},{"name":{"family":"Anders"},"gender":"female"}],
"extension":[{"url":"http://e.example/a","valueDecimal":0.40}]}"""

OBSERVATION = b"""{"resourceType":"Observation","status":"final","code":{"text":"x"},
"valueQuantity":{"value":6.30,"unit":"mmol/l"},"component":[{"code":{"text":"c"},"valueQuantity":{"value":1.0}}]}"""


def operation(kind: str, path: str, **parts: Any) -> Resource:
    """value: a `value` part as it is; other parts by their value[x]."""
    made = [{"name": "type", "valueCode": kind}, {"name": "path", "valueString": path}]
    for name, part in parts.items():
        if name == "value":
            made.append({"name": "value", **part})
        else:
            made.append({"name": name, "valueInteger" if isinstance(part, int) else "valueString": part})
    return {"name": "operation", "part": made}


def patched(resource: bytes, *operations: Resource) -> Resource:
    return patch(loads(resource), {"resourceType": "Parameters", "parameter": list(operations)})


MALE: dict[str, Any] = {"valueCode": "male"}

DONE: dict[str, tuple[Resource, list[str], Any]] = {
    "add an element": (operation("add", "Patient", name="gender", value=MALE), ["gender"], "male"),
    "add to a list": (
        operation("add", "Patient.name[0]", name="given", value={"valueString": "B"}),
        ["name", 0, "given"],
        ["Erika", "Anna", "B"],
    ),
    "add a first one": (
        operation("add", "Patient", name="active", value={"valueBoolean": True}),
        ["active"],
        True,
    ),
    "add a choice": (
        operation("add", "Patient", name="deceased", value={"valueBoolean": False}),
        ["deceasedBoolean"],
        False,
    ),
    "add what no value holds": (
        operation(
            "add",
            "Patient",
            name="contact",
            value={
                "part": [
                    {"name": "name", "valueHumanName": {"text": "N"}},
                    {"name": "telecom", "valueContactPoint": {"rank": 1}},
                ]
            },
        ),
        ["contact", 2],
        {"name": {"text": "N"}, "telecom": [{"rank": 1}]},
    ),
    "insert": (
        operation("insert", "Patient.name[0].given", index=1, value={"valueString": "B"}),
        ["name", 0, "given"],
        ["Erika", "B", "Anna"],
    ),
    "replace": (operation("replace", "Patient.birthDate", value={"valueDate": "1965"}), ["birthDate"], "1965"),
    "replace an item": (
        operation("replace", "Patient.name.first().given[1]", value={"valueString": "B"}),
        ["name", 0, "given"],
        ["Erika", "B"],
    ),
    "replace by a condition": (
        operation("replace", "Patient.contact.where(name.family = 'Anders' and gender='female').gender", value=MALE),
        ["contact", 1, "gender"],
        "male",
    ),
    "replace by a name": (
        operation("replace", "Patient.name.where(use = 'nickname').given.last()", value={"valueString": "E"}),
        ["name", 1, "given"],
        ["E"],
    ),
    "replace a choice by another": (
        operation("replace", "Patient.multipleBirth", value={"valueBoolean": True}),
        ["multipleBirthBoolean"],
        True,
    ),
    "replace an extension": (
        operation("replace", "Patient.extension('http://e.example/a').value", value={"valueDecimal": loads("0.50")}),
        ["extension", 0, "valueDecimal"],
        loads("0.50"),
    ),
    "move": (
        operation("move", "Patient.name[0].given", source=0, destination=1),
        ["name", 0, "given"],
        ["Anna", "Erika"],
    ),
}


@pytest.mark.parametrize(("done", "where", "expected"), DONE.values(), ids=DONE)
def test_what_an_operation_does(done: Resource, where: list[str | int], expected: Any) -> None:
    made: Any = patched(PATIENT, done)
    assert check(made) == ()
    for step in where:
        made = made[step]
    assert made == expected


def test_a_list_that_is_empty_goes_and_nothing_there_is_nothing_to_delete() -> None:
    made = patched(
        PATIENT,
        operation("delete", "Patient.name[1].given[0]"),
        operation("delete", "Patient.photo"),
        operation("delete", "Patient.contact.where(gender = 'other')"),
    )
    assert made["name"][1] == {"use": "nickname"}
    assert len(made["contact"]) == 2


def test_a_choice_keeps_its_place_and_the_other_form_goes() -> None:
    made = patched(OBSERVATION, operation("replace", "Observation.value", value={"valueString": "viel"}))
    assert list(made) == ["resourceType", "status", "code", "valueString", "component"]
    inner = patched(
        OBSERVATION,
        operation("replace", "Observation.component[0].value.ofType(Quantity).value", value={"valueDecimal": 2}),
    )
    assert inner["component"][0]["valueQuantity"] == {"value": 2}


UNFIT = {
    "nothing to replace": operation("replace", "Patient.gender", value=MALE),
    "more than one": operation("delete", "Patient.name"),
    "one that is there": operation("add", "Patient", name="birthDate", value={"valueDate": "1965"}),
    "the other form is there": operation("add", "Patient", name="multipleBirth", value={"valueBoolean": True}),
    "no such element": operation("add", "Patient", name="colour", value={"valueString": "x"}),
    "no such form": operation("add", "Patient", name="deceased", value={"valueString": "x"}),
    "to a text": operation("add", "Patient.birthDate", name="x", value={"valueString": "x"}),
    "the whole": operation("delete", "Patient"),
    "no list": operation("insert", "Patient.birthDate", index=0, value={"valueString": "x"}),
    "beyond the list": operation("insert", "Patient.name[0].given", index=3, value={"valueString": "x"}),
    "moved beyond": operation("move", "Patient.name", source=0, destination=2),
}

MALFORMED = {
    "no operation": {"name": "change", "part": []},
    "another type": operation("rename", "Patient"),
    "no path": {"name": "operation", "part": [{"name": "type", "valueCode": "delete"}]},
    "no value": operation("replace", "Patient.birthDate"),
    "two values": operation("replace", "Patient.birthDate", value={"valueDate": "1965", "valueString": "x"}),
    "a negative index": operation("insert", "Patient.name", index=-1, value={"valueString": "x"}),
    "a function": operation("delete", "Patient.name.exists()"),
    "an operator": operation("delete", "Patient.name | Patient.photo"),
    "a path that ends": operation("delete", "Patient.name["),
    "a condition without an end": operation("delete", "Patient.name.where(use = 'x'"),
    "a condition with nothing": operation("delete", "Patient.name.where(use)"),
    "something behind it": operation("delete", "Patient.birthDate 'x'"),
    "too long": operation("delete", "Patient" + ".name" * 1000),
}


@pytest.mark.parametrize("one", UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_fails_whole(one: Resource) -> None:
    with pytest.raises(PatchFailed, match=r"^Parameters.parameter\[0\]: "):
        patched(PATIENT, one)


@pytest.mark.parametrize("one", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_patch_is_told(one: Resource) -> None:
    with pytest.raises(BadPatch) as raised:
        patched(PATIENT, one)
    assert raised.value.status == 400


@pytest.mark.attack(46)
def test_a_patch_is_bounded() -> None:
    with pytest.raises(BadPatch, match="at most"):
        patched(PATIENT, *[operation("delete", "Patient.photo")] * (MOST_OPERATIONS + 1))


@given(st.permutations(["Patient.birthDate", "Patient.name[1]", "Patient.contact[0].gender"]), st.integers(0, 3))
def test_what_is_not_touched_stays_to_the_byte(paths: list[str], number: int) -> None:
    before = loads(PATIENT)
    made = patch(before, {"parameter": [operation("delete", path) for path in paths[:number]]})
    assert dumps(before) == dumps(loads(PATIENT))
    touched = {path.split(".")[1].partition("[")[0] for path in paths[:number]}
    for name, child in before.items():
        assert name in touched or dumps(made[name]) == dumps(child)
