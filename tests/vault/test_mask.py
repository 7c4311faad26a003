"""Masking: what a resource tells of targets that are not in the view, and that nothing else changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.vault.mask import bare, mask, references
from fhir_profiles.text import Number, Resource, dumps, loads

pytestmark = [pytest.mark.attack(15), pytest.mark.storeless]

SHOWN, HIDDEN = "Observation/v.shown", "Condition/v.hidden"
VISIBLE = {SHOWN, "Patient/v.erika"}
MASKED = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]}
REDACTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "REDACTED"}


def resource(**elements: Any) -> Resource:
    return {"resourceType": "Observation", "id": "v.1", **elements}


def redacted(**elements: Any) -> Resource:
    return resource(**elements) | {"meta": {"security": [REDACTED]}}


NAMES_A_HIDDEN_TARGET = {
    "literal": {"reference": HIDDEN, "display": "Depression"},
    "literal with everything": {
        "id": "r",
        "reference": HIDDEN,
        "type": "Condition",
        "identifier": {"value": "4711"},
        "display": "Depression",
        "extension": [{"url": "x", "valueString": "y"}],
    },
    "never stored": {"reference": "Condition/v.never"},
    "external": {"reference": "https://klinik.example/fhir/Condition/7", "display": "Depression"},
    "of a visible one's version": {"reference": f"{SHOWN}/_history/3"},
    "of a visible one at another server": {"reference": f"https://klinik.example/fhir/{SHOWN}"},
    "a UUID": {"reference": "urn:uuid:0c3f7e9e-8a52-4f0e-9a4e-1f8f6a2f4a11"},
    "conditional": {"reference": "Practitioner?identifier=http://nppes|4711"},
    "logical": {"identifier": {"system": "https://klinik.example/fall", "value": "4711"}},
    "logical with type and display": {"type": "Encounter", "identifier": {"value": "4711"}, "display": "Psychiatrie"},
    "display alone": {"display": "Dr. Sommer, Psychiatrie"},
    "display and type": {"type": "Practitioner", "display": "Dr. Sommer"},
    "display's extension alone": {"_display": {"extension": [{"url": "x", "valueString": "Dr. Sommer"}]}},
    "reference's extension and a display": {"_reference": {"extension": []}, "display": "Dr. Sommer"},
}


@pytest.mark.parametrize("case", NAMES_A_HIDDEN_TARGET)
def test_hidden_never_stored_and_external_targets_look_alike(case: str) -> None:
    target = NAMES_A_HIDDEN_TARGET[case]
    assert mask(resource(focus=[target]), VISIBLE) == redacted(focus=[MASKED])
    assert mask(resource(subject=target), VISIBLE) == redacted(subject=MASKED)


STAYS = {
    "a visible target": {"reference": SHOWN, "display": "HbA1c", "type": "Observation"},
    "a contained target": {"reference": "#1", "display": "probe"},
    "the container": {"reference": "#"},
    "a type alone": {"type": "Practitioner"},
    "a concept of text": {"text": "Blut"},
    "an identifier": {"system": "https://klinik.example/fall", "value": "4711"},
    "an empty element": {"extension": [{"url": "x", "valueString": "y"}]},
}


@pytest.mark.parametrize("case", STAYS)
def test_everything_else_stays(case: str) -> None:
    whole = resource(focus=[STAYS[case]], text={"status": "generated", "div": "<div>x</div>"})
    assert mask(whole, VISIBLE) is whole


def test_a_coding_with_a_display_alone_is_no_reference() -> None:
    whole = resource(code={"coding": [{"display": "Glukose"}, {"system": "s", "code": "c", "display": "d"}]})
    assert mask(whole, VISIBLE) is whole


def test_a_reference_inside_a_codings_extension_is_masked() -> None:
    inside = {"url": "x", "valueReference": {"reference": HIDDEN}}
    coding = {"display": "Glukose", "extension": [inside]}
    assert mask(resource(code={"coding": [coding]}), VISIBLE) == redacted(
        code={"coding": [{"display": "Glukose", "extension": [{"url": "x", "valueReference": MASKED}]}]}
    )


def test_references_lie_anywhere() -> None:
    hidden = {"reference": HIDDEN}
    whole = resource(
        contained=[{"resourceType": "Condition", "id": "1", "evidence": [{"detail": [hidden]}]}],
        extension=[{"url": "x", "extension": [{"url": "y", "valueReference": hidden}]}],
        _status={"extension": [{"url": "z", "valueReference": hidden}]},
        meta={"extension": [{"url": "m", "valueReference": hidden}], "security": [{"code": "N"}]},
    )
    made = mask(whole, VISIBLE)
    assert HIDDEN not in json.dumps(made)
    assert json.dumps(made).count(json.dumps(MASKED)) == 4
    assert made["meta"]["security"] == [{"code": "N"}, REDACTED]


def test_an_attachments_url_into_the_vault_is_masked() -> None:
    content = [{"attachment": {"url": f"Binary/{name}", "title": "Brief"}} for name in ("v.shown", "v.hidden")]
    made = mask(resource(content=content), VISIBLE | {"Binary/v.shown"})
    assert [one["attachment"]["url"] for one in made["content"]] == ["Binary/v.shown", "urn:masked"]


LIES_ELSEWHERE = [
    "https://klinik.example/psychiatrie/brief.pdf",
    "https://klinik.example/fhir/Binary/v.hidden",
    "/fhir/Binary/v.hidden",
    "Binary/v.hidden/_history/1",
    "Binary/v.shown/_history/1",
    "Binary/v.hidden?_format=json",
    "urn:oid:1.2.3",
    "brief.pdf",
    "",
]


@pytest.mark.parametrize("url", LIES_ELSEWHERE)
def test_wherever_an_attachment_lies_outside_the_view_is_masked(url: str) -> None:
    whole = {"contentType": "application/pdf", "url": url, "title": "Brief", "_title": {"id": "t"}}
    for elements in ({"presentedForm": [whole]}, {"valueAttachment": whole}, {"content": {"attachment": {"url": url}}}):
        made = dumps(mask(resource(**elements), VISIBLE | {"Binary/v.shown"})).decode()
        assert '"url":"urn:masked"' in made


@pytest.mark.parametrize("url", ["Binary/v.shown", "#b1", "data:text/plain;base64,QQ==", "urn:masked"])
def test_an_attachment_that_lies_in_the_view_or_in_itself_stays(url: str) -> None:
    whole = resource(presentedForm=[{"contentType": "text/plain", "url": url}])
    assert mask(whole, VISIBLE | {"Binary/v.shown"}) is whole


ADDRESSES = [
    "Condition/v.hidden",
    "Condition/v.never",
    "Condition/v.hidden/_history/2",
    "/fhir/Condition/v.hidden",
    "https://klinik.example/fhir/Condition/v.hidden",
    "https://klinik.example/fhir/Condition/v.hidden/_history/1",
    "https://klinik.example/fhir/Condition/v.hidden|2",
    "Condition/v.hidden#x",
    "Condition/v.hidden/",
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("member", ["valueUri", "valueUrl", "valueCanonical", "valueString"])
def test_an_address_in_any_value_is_masked(member: str, address: str) -> None:
    extension = {"url": "https://klinik.example/fhir/StructureDefinition/x", member: address}
    assert mask(resource(extension=[extension], instantiatesUri=[address]), VISIBLE) == redacted(
        extension=[extension | {member: "urn:masked"}], instantiatesUri=["urn:masked"]
    )


PUBLISHED_OR_TEXT = [
    SHOWN,
    "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
    "http://hl7.org/fhir/Questionnaire/phq-9|1.0",
    "urn:uuid:0c3f7e9e-8a52-4f0e-9a4e-1f8f6a2f4a11",
    "Leber/Milz",
    "mmol/l",
    "siehe Condition/v.hidden",
    "Observation",
    "QUJD/Observation/QUJD" * 500,
]


@pytest.mark.parametrize("text", PUBLISHED_OR_TEXT)
def test_what_is_published_and_what_is_no_address_stays(text: str) -> None:
    identifier = {"system": "https://klinik.example/sid/Patient/nummer", "value": "4711"}
    extension = {"url": "http://hl7.org/fhir/StructureDefinition/x", "valueUri": text}
    whole = resource(extension=[extension], identifier=[identifier], note=[{"text": text}])
    assert mask(whole, VISIBLE) is whole


def test_labels_that_are_no_list_are_replaced() -> None:
    """Nothing that was checked has them; a writer may sign what was not."""
    assert mask(resource(focus=[{"reference": HIDDEN}], meta={"security": 5}), VISIBLE)["meta"] == {
        "security": [REDACTED]
    }


def test_every_narrative_goes_and_no_other_text() -> None:
    narrative = {"status": "generated", "div": "<div>Depression</div>"}
    whole = resource(
        text=narrative,
        contained=[{"resourceType": "Basic", "id": "1", "text": narrative, "code": {"text": "Art"}}],
        section=[{"title": "Diagnosen", "text": narrative, "entry": [{"reference": HIDDEN}]}],
        code={"text": "Blutzucker"},
        note=[{"text": "nüchtern"}],
    )
    assert mask(whole, VISIBLE) == redacted(
        contained=[{"resourceType": "Basic", "id": "1", "code": {"text": "Art"}}],
        section=[{"title": "Diagnosen", "entry": [MASKED]}],
        code={"text": "Blutzucker"},
        note=[{"text": "nüchtern"}],
    )


def test_numbers_and_the_order_of_members_stay() -> None:
    text = b'{"resourceType":"Observation","valueQuantity":{"value":0.40},"focus":[{"reference":"A/b"}],"x":1E5}'
    masked = dumps(mask(loads(text), VISIBLE))
    assert masked.startswith(b'{"resourceType":"Observation","valueQuantity":{"value":0.40},"focus":[{"extension":')
    assert masked.endswith(b'],"x":1E5,"meta":{"security":[' + dumps(REDACTED) + b"]}}")


def test_what_was_given_is_not_changed() -> None:
    whole = resource(focus=[{"reference": HIDDEN}], meta={"security": [{"code": "N"}]}, text={"div": ""})
    before = json.dumps(whole)
    mask(whole, VISIBLE)
    assert json.dumps(whole) == before


def test_a_bare_resource_is_type_and_id() -> None:
    assert bare(resource(name="x")) == {"resourceType": "Observation", "id": "v.1"}


def test_references_are_listed_as_written_contained_ones_included() -> None:
    whole = resource(
        subject={"reference": "Patient/v.erika"},
        contained=[{"performer": [{"reference": "Practitioner/v.p", "display": "Dr."}]}],
        related={"reference": {"value": "an identifier, in a Claim"}, "claim": {"reference": "#1"}},
        data={"meaning": "instance", "reference": "no Reference"},
    )
    assert list(references(whole)) == ["Patient/v.erika", "Practitioner/v.p", "#1"]


# Laws.

SECRETS = ("v.hidden", "Depressive Episode", "FALL-4711")
member_names = st.sampled_from(["focus", "item", "coding", "extension", "code", "url", "div", "text", "contained", "x"])
hidden_references = st.fixed_dictionaries(
    {},
    optional={
        "reference": st.just(HIDDEN),
        "identifier": st.just({"value": "FALL-4711"}),
        "display": st.just("Depressive Episode"),
        "type": st.just("Condition"),
        "id": st.just("r1"),
    },
).filter(lambda made: made.keys() & {"reference", "identifier", "display"})
holders = st.sampled_from(["subject", "valueReference", "focus", "detail"])
scalars = st.sampled_from(["text", 1, Number("0.40"), True, SHOWN])
trees: st.SearchStrategy[Any] = st.recursive(
    st.dictionaries(holders, hidden_references | st.just({"reference": SHOWN, "display": "HbA1c"}), max_size=2),
    lambda inner: st.dictionaries(member_names, inner | st.lists(inner, max_size=3) | scalars, max_size=3),
    max_leaves=8,
)


@given(trees)
def test_no_hidden_id_display_or_identifier_survives(tree: Any) -> None:
    printed = dumps(mask(resource(element=tree), VISIBLE)).decode()
    assert not [secret for secret in SECRETS if secret in printed]


@given(trees)
def test_masking_twice_changes_nothing_more(tree: Any) -> None:
    once = mask(resource(element=tree), VISIBLE)
    assert mask(once, VISIBLE) == once


@given(trees)
def test_all_that_is_visible_leaves_the_resource_as_it_is(tree: Any) -> None:
    whole = resource(element=tree)
    if not any(secret in dumps(whole).decode() for secret in (*SECRETS, '"url"')):  # a url alone is an Attachment's
        assert mask(whole, VISIBLE) is whole


@given(trees)
def test_hidden_and_never_stored_cannot_be_told_apart(tree: Any) -> None:
    """The same resource over a vault that holds the target and one that does not: equal bytes."""
    never = loads(dumps(tree).replace(b"v.hidden", b"v.never1"))
    assert dumps(mask(resource(element=tree), VISIBLE)) == dumps(mask(resource(element=never), VISIBLE))
