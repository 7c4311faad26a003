"""What normalising changes and what it leaves: only id, meta and references."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.sync.normalise import Normal, Normaliser, Refused, stamp
from aggregator.sync.whose import subject_of
from connectors.contract import Identifier, Reason, Subject
from fhir_profiles.profiles import AMENDS_URL, VERIFICATION_URL
from fhir_profiles.text import Number, Resource, dumps, loads
from tests.sync.sync_world import SyncWorld, condition, found, observation, patient
from tests.vault.world import ERIKA, TABLE, World
from tests.weaken import weakens


@pytest.fixture
def normaliser(world: World) -> Normaliser:
    """Of the clinic's account, whose Patient is known."""
    return Normaliser(world.connect(), TABLE, "scripted 1", {"Patient/p1"})


def normal(normaliser: Normaliser, resource: Resource) -> Normal:
    made = normaliser.normalise(found(resource))
    assert isinstance(made, Normal), made
    return made


def resource(normaliser: Normaliser, given: Resource) -> Resource:
    return normal(normaliser, given).resource


def whole(normaliser: Normaliser, source_id: str) -> str:
    kind = source_id.partition("/")[0]
    return f"{kind}/{normaliser.mandate.vault}.{normaliser.local(source_id)}"


def own(normaliser: Normaliser) -> str:
    return f"Patient/{normaliser.mandate.vault}.{normaliser.mandate.patient}"


def test_the_stored_text_is_the_sources_but_for_id_meta_and_references(normaliser: Normaliser) -> None:
    given = observation("o1", Number("7.40")) | {"meta": {"profile": ["urn:p"], "versionId": "9"}}
    text = stamp(normal(normaliser, given).resource, 3, "2026-11-21T21:30:00.000+01:00").decode()
    vault, local, patient_id = normaliser.mandate.vault, normaliser.local("Observation/o1"), own(normaliser)
    assert text == (
        f'{{"resourceType":"Observation","id":"{vault}.{local}",'
        '"meta":{"versionId":"3","lastUpdated":"2026-11-21T21:30:00.000+01:00","profile":["urn:p"],'
        '"source":"urn:aggregator:source:klinik"},"status":"final",'
        '"code":{"coding":[{"system":"http://loinc.org","code":"4548-4"}]},'
        f'"subject":{{"reference":"{patient_id}"}},"valueQuantity":{{"value":7.40,"unit":"%"}}}}'
    )


def test_ids_are_stable_and_depend_on_authority_account_and_id(normaliser: Normaliser, world: World) -> None:
    again = Normaliser(world.connect(), TABLE, "scripted 2")
    assert again.local("Observation/o1") == normaliser.local("Observation/o1")
    others = [
        normaliser.local("Observation/o2"),
        Normaliser(replace(again.mandate, authority="praxis"), TABLE, "").local("Observation/o1"),
        Normaliser(replace(again.mandate, account="max"), TABLE, "").local("Observation/o1"),
    ]
    assert len({normaliser.local("Observation/o1"), *others}) == 4
    assert {len(local) for local in others} == {26}


REFERENCES = {
    "Observation/2": "Observation/2",
    "Observation/2/_history/7": "Observation/2",
    "Patient/p9": "Patient/p9",
}
UNTOUCHED = [
    "#c1",
    "https://other.example/fhir/Observation/2",
    "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0",
    "Observation?identifier=7",
    "keine Referenz",
]


@pytest.mark.parametrize(("given", "target"), REFERENCES.items())
def test_a_reference_inside_the_source_becomes_one_inside_the_vault(
    normaliser: Normaliser, given: str, target: str
) -> None:
    made = resource(normaliser, observation() | {"focus": [{"reference": given, "display": "x"}]})
    assert made["focus"] == [{"reference": whole(normaliser, target), "display": "x"}]


def test_the_own_patient_becomes_the_vaults_under_every_id_it_has(normaliser: Normaliser) -> None:
    normaliser.patients.add("Patient/p2")
    for name in ("Patient/p1", "Patient/p2", "Patient/p1/_history/4"):
        assert resource(normaliser, observation(patient=name))["subject"]["reference"] == own(normaliser)


@pytest.mark.parametrize("given", UNTOUCHED)
def test_what_points_elsewhere_stays(normaliser: Normaliser, given: str) -> None:
    target = condition("E11.90", "c1") if given == "#c1" else None
    contained = {"contained": [target]} if target else {}
    made = resource(normaliser, observation() | contained | {"focus": [{"reference": given}]})
    assert made["focus"] == [{"reference": given}]


def test_references_in_contained_resources_and_extensions_are_rewritten_and_their_ids_kept(
    normaliser: Normaliser,
) -> None:
    extension = {"url": "urn:x", "valueReference": {"reference": "Encounter/e1"}}
    given = observation() | {"contained": [condition("E11.90", "c1")], "focus": [{"reference": "#c1"}]}
    made = resource(normaliser, given | {"extension": [extension]})
    assert made["contained"][0]["id"] == "c1"
    assert made["contained"][0]["subject"]["reference"] == own(normaliser)
    assert made["extension"][0]["valueReference"]["reference"] == whole(normaliser, "Encounter/e1")
    assert made["extension"][0]["url"] == "urn:x"


def test_an_attachments_binary_is_a_reference_and_a_web_address_is_not(normaliser: Normaliser) -> None:
    def document(url: str) -> Resource:
        content = [{"attachment": {"url": url}}]
        return {"resourceType": "DocumentReference", "id": "d1", "status": "current", "content": content}

    urls = ["Binary/b1", "https://klinik.example/b1", "Library/b1"]
    made = [resource(normaliser, document(url))["content"][0]["attachment"]["url"] for url in urls]
    assert made == [whole(normaliser, "Binary/b1"), *urls[1:]]


def test_a_document_keeps_its_own_references(normaliser: Normaliser) -> None:
    inside = {"fullUrl": "urn:uuid:1", "resource": observation()}
    given = {"resourceType": "Bundle", "id": "b1", "type": "collection", "entry": [inside]}
    assert resource(normaliser, given)["entry"] == [inside]


def test_the_sources_patient_hangs_on_the_vaults(normaliser: Normaliser) -> None:
    link = {"other": {"reference": "Patient/p2"}, "type": "seealso"}
    made = resource(normaliser, patient() | {"link": [link]})
    assert made["id"] == f"{normaliser.mandate.vault}.{normaliser.local('Patient/p1')}"
    assert made["link"] == [
        {"other": {"reference": whole(normaliser, "Patient/p2")}, "type": "seealso"},
        {"other": {"reference": own(normaliser)}, "type": "refer"},
    ]


@pytest.mark.attack(58)
def test_a_sources_labels_stay_and_lower_nothing(normaliser: Normaliser) -> None:
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "U"}
    made = normal(normaliser, condition("F32.1") | {"meta": {"security": [label]}})
    assert (made.resource["meta"]["security"], made.section) == ([label], "mental-health")


@pytest.mark.attack(56)
@weakens("aggregator.sync.normalise", "unclaimed", dict)
def test_a_source_does_not_say_what_this_service_alone_says(normaliser: Normaliser) -> None:
    """That its resource amends another, or was verified."""
    theirs = {"url": "https://clinic.example/made-by", "valueString": "scanner"}
    claims = [
        {"url": AMENDS_URL, "valueReference": {"reference": "Observation/o2"}},
        {"url": VERIFICATION_URL, "valueString": "verified"},
    ]
    made = resource(normaliser, observation() | {"meta": {"extension": [*claims, theirs]}})
    assert made["meta"]["extension"] == [theirs]


def test_what_a_source_says_of_its_own_versions_changes_no_tag_and_a_label_does(normaliser: Normaliser) -> None:
    plain = normal(normaliser, observation() | {"meta": {"versionId": "1"}}).tag_content
    newer = {"versionId": "2", "lastUpdated": "2026-01-01T00:00:00Z", "source": "urn:x"}
    labelled = {"security": [{"system": "urn:s", "code": "R"}]}
    assert normal(normaliser, observation() | {"meta": newer}).tag_content == plain
    assert normal(normaliser, observation() | {"meta": labelled}).tag_content != plain


def test_the_origin_is_what_provenance_is_made_of(normaliser: Normaliser) -> None:
    item = found(observation())
    made = normaliser.normalise(item)
    assert isinstance(made, Normal)
    assert made.origin == {
        "source": "klinik",
        "locator": "/fhir/Observation/o1",
        "source_id": "Observation/o1",
        "fetched_at": "2026-11-21T21:30:00+01:00",
        "hash": f"sha-256-64;{item.origin.sha256[:16]}",
        "connector": "scripted 1",
    }


def test_what_breaks_many_rules_is_told_in_its_first_five(normaliser: Normaliser) -> None:
    made = normaliser.normalise(found(observation() | {f"bogus{number}": 1 for number in range(9)}))
    assert isinstance(made, Refused)
    assert (made.reason, made.keep, made.detail.count(";")) == (Reason.INVALID, True, 4)


@pytest.mark.parametrize(
    "strange",
    [
        {"name": 7, "identifier": 7},
        {"name": "Erika", "identifier": {"system": 1}},
        {"name": [None, {"family": ["x"], "given": "Erika"}], "birthDate": ["1957"]},
    ],
)
def test_a_patient_of_any_shape_is_read_as_far_as_it_goes(strange: Resource) -> None:
    assert isinstance(subject_of(strange), Subject)


def test_a_patient_says_who_it_is() -> None:
    told = subject_of(patient() | {"name": [{"use": "maiden", "family": "Alt"}, {"use": "official", "family": "Neu"}]})
    assert told == Subject(
        identifiers=(Identifier("http://fhir.de/sid/gkv/kvid-10", str(ERIKA.kvnr)),),
        family="Neu",
        birth_date=ERIKA.birth_date,
    )


# --- the law: nothing else changes

_numbers = st.decimals(allow_nan=False, allow_infinity=False, places=3).map(lambda value: Number(f"{value:f}"))
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_names = st.sampled_from(["note", "url", "value", "id", "display", "text"])
_leaves = st.one_of(_texts, st.booleans(), st.integers(-(10**12), 10**12), _numbers)
_trees = st.recursive(
    _leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_names, inner, max_size=3)),
    max_leaves=12,
)
_references = st.sampled_from(["Observation/2", "Encounter/a-1", "#x", "urn:x", "Patient/p1"]).map(
    lambda target: {"reference": target}
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(tree=st.dictionaries(_names, st.one_of(_trees, _references), max_size=5))
def test_only_id_meta_and_references_change(normaliser: Normaliser, tree: dict[str, Any]) -> None:
    given = {"resourceType": "Basic", "extension": tree, "id": "b1"}
    made = loads(dumps(normaliser._rewrite(given, "Basic/b1")))
    assert _without_references(made["extension"]) == _without_references(loads(dumps(tree)))
    assert set(made) == {"resourceType", "id", "meta", "extension"}


def _without_references(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: "ref" if name == "reference" else _without_references(child) for name, child in node.items()}
    return [_without_references(child) for child in node] if isinstance(node, list) else node


def test_the_same_item_under_the_same_mandate_gives_the_same(syncing: SyncWorld) -> None:
    made = Normaliser(syncing.world.connect(), TABLE, "scripted 1", {"Patient/p1"})
    assert made.normalise(found(observation())) == made.normalise(found(observation()))
