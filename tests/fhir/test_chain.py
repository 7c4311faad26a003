"""Chains and `_has`: a table of queries, a law against a naive walk, refusals, and what the view does not hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.search import search
from aggregator.vault.image import Record
from fhir_profiles.text import dumps, loads
from tests.fhir.world import LINKS, entries, handmade, names, pairs, record, view_of

VIEW = view_of(handmade())
META = {"versionId": "1", "lastUpdated": "2026-11-20T03:12:44+01:00"}

FOUND: dict[tuple[str, str], list[str]] = {
    ("Observation", "subject:Patient.family=müller"): ["hba1c-2024", "potassium"],
    ("Observation", "subject.family=müller"): ["hba1c-2024", "potassium"],
    ("Observation", "patient.identifier=X110411319"): ["hba1c-2024", "potassium"],
    ("Observation", "patient.identifier=4711,X110411319"): ["hba1c-2024", "hba1c-2025", "potassium"],
    ("Observation", "patient._id=k3.klinik"): ["hba1c-2025"],
    ("Observation", "patient._lastUpdated=lt2026-11-02"): ["hba1c-2025"],
    ("Observation", "patient.identifier=X110411319&code=K"): ["potassium"],
    ("Observation", "patient.identifier=none"): [],
    ("Observation", "subject:Group.identifier=4711"): [],
    ("Patient", "_has:Observation:patient:code=K"): ["erika"],
    ("Patient", "_has:Observation:subject:code=4548-4"): ["erika", "klinik"],
    ("Patient", "_has:Observation:patient:code=4548-4&_has:Observation:patient:code=K"): ["erika"],
    ("Patient", "_has:Observation:patient:date=ge2025&identifier=4711"): ["klinik"],
    ("Patient", "_has:Observation:patient:_id=k3.pulse"): [],
    ("Patient", "_has:Observation:patient:code=none"): [],
    ("Observation", "patient._has:MedicationRequest:patient:code=A10BA02"): ["hba1c-2024", "potassium"],
}


@pytest.mark.parametrize(("resource_type", "query"), FOUND)
def test_found(resource_type: str, query: str) -> None:
    bundle = loads(search(VIEW, resource_type, pairs(query), LINKS, strict=True).body)
    assert names(bundle) == FOUND[resource_type, query]


REFUSED = {
    "code.name=x": "code.name: only a reference can be followed",
    "_has:Observation:code:code=x": "_has:Observation:code:code: only a reference can be followed",
    "subject.a.b.c.d.e=x": "subject.a.b.c.d.e: more than 4 steps",
    f"{'_has:Observation:subject:' * 5}code=x": "a parameter: more than 4 steps",  # too long a name to repeat
    "subject:Patient._lastUpdated=SECRET": "_lastUpdated: its prefix is not one of eq, ne, gt, ge, lt, le, sa, eb, ap",
}


@pytest.mark.parametrize("query", REFUSED)
def test_refused(query: str) -> None:
    with pytest.raises(BadQuery) as caught:
        search(VIEW, "Observation", pairs(query), LINKS)
    assert str(caught.value) == REFUSED[query]


@pytest.mark.parametrize(
    "name",
    [
        *("subject.colour", "colour.name", "subject:Colour.name", "subject.", "."),
        *("_has:Colour:patient:code", "_has:Observation:colour:code", "_has:Observation:patient:colour"),
        *("_has:Observation", "_has:", "_has:Condition:encounter:code"),
    ],
)
def test_a_name_that_is_none_is_an_unknown_parameter(name: str) -> None:
    bundle = loads(search(VIEW, "Observation", [(name, "x")], LINKS).body)
    (outcome,) = entries(bundle, "outcome")
    assert "ignored" in outcome["issue"][0]["diagnostics"]


PEOPLE, DEVICES = ["a", "b"], ["1", "2", "3"]
people = st.dictionaries(st.sampled_from(PEOPLE), st.sampled_from(["red", "blue"]), max_size=2)
devices = st.dictionaries(st.sampled_from(DEVICES), st.tuples(st.sampled_from([*PEOPLE, "hidden"]), st.booleans()))
seen = st.lists(st.tuples(st.sampled_from([*DEVICES, "hidden"]), st.sampled_from(["x", "y"])), max_size=8)


def world(
    found_people: dict[str, str], found_devices: dict[str, tuple[str, bool]], found_seen: list[tuple[str, str]]
) -> list[Record]:
    resources: list[dict[str, Any]] = [
        {"resourceType": "Patient", "id": f"k3.{one}", "name": [{"family": family}]}
        for one, family in found_people.items()
    ]
    resources += [
        {
            "resourceType": "Device",
            "id": f"k3.{one}",
            "status": "active" if over else "inactive",
            "patient": {"reference": f"Patient/k3.{who}"},
        }
        for one, (who, over) in found_devices.items()
    ]
    resources += [
        {
            "resourceType": "Observation",
            "id": f"k3.o{number}",
            "code": {"coding": [{"code": code}]},
            "subject": {"reference": f"Device/k3.{device}"},
        }
        for number, (device, code) in enumerate(found_seen)
    ]
    return [record(dumps(one | {"meta": META})) for one in resources]


@settings(max_examples=150, deadline=None)
@given(people, devices, seen)
def test_what_is_found_is_what_a_naive_walk_finds(
    found_people: dict[str, str], found_devices: dict[str, tuple[str, bool]], found_seen: list[tuple[str, str]]
) -> None:
    view = view_of(world(found_people, found_devices, found_seen))

    def ask(resource_type: str, query: str) -> list[str]:
        return names(loads(search(view, resource_type, pairs(query), LINKS, strict=True).body))

    red = {one for one, family in found_people.items() if family == "red"}
    of_red = {one for one, (who, _) in found_devices.items() if who in red}
    with_x = {one for one in found_devices if (one, "x") in found_seen}
    assert ask("Device", "patient:Patient.family=red") == sorted(of_red)
    assert ask("Observation", "subject:Device.patient.family=red") == [
        f"o{number}" for number, (device, _) in enumerate(found_seen) if device in of_red
    ]
    assert ask("Device", "_has:Observation:subject:code=x") == sorted(with_x)
    assert ask("Device", "_has:Observation:subject:code=x&status=active&patient.family=red") == sorted(
        one for one in with_x & of_red if found_devices[one][1]
    )
    assert ask("Patient", "_has:Device:patient:_has:Observation:subject:code=x") == sorted(
        one for one in found_people if any(found_devices[device][0] == one for device in with_x)
    )


@pytest.mark.attack(12)
@pytest.mark.parametrize(
    "query", ["patient:Patient._lastUpdated=ge1900", "patient._id=k3.hidden", "patient._id=hidden"]
)
def test_what_is_not_in_the_view_is_named_by_no_chain(query: str) -> None:
    """A reference that was not masked, even: the other end is not there."""
    view = view_of(world({"a": "red"}, {"1": ("hidden", True), "2": ("a", True)}, []))
    bundle = loads(search(view, "Device", pairs(query), LINKS, strict=True).body)
    assert "1" not in names(bundle)
