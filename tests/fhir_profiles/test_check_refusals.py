"""Every way in which the check refuses a resource's structure: the whole answer, as people would read it."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_profiles.check import MAX_ISSUES, Issue, check
from fhir_profiles.text import MAX_DEPTH, loads


def lines(issues: tuple[Issue, ...]) -> list[str]:
    return [f"{one.severity} {one.code} {one.expression}: {one.text}" for one in issues]


def told(json: str) -> list[str]:
    return lines(check(loads(json)))


OBSERVATION = '"resourceType":"Observation","status":"final","code":{"text":"x"}'
EXTENSION = '{"extension":[{"url":"http://example.org/e","valueString":"x"}]}'

GOOD = {
    "a plain one": f"{{{OBSERVATION}}}",
    "a decimal as written": f'{{{OBSERVATION},"valueQuantity":{{"value":7.20}}}}',
    "a decimal without a point": f'{{{OBSERVATION},"valueQuantity":{{"value":7}}}}',
    "a required element by its extension": (
        f'{{"resourceType":"Observation","_status":{EXTENSION},"code":{{"text":"x"}}}}'
    ),
    "a choice by its extension alone": f'{{{OBSERVATION},"_valueString":{EXTENSION}}}',
    "an extension whose value has but an extension": (
        f'{{"resourceType":"Basic","code":{{"text":"x"}},"extension":[{{"url":"http://e","_valueCode":{EXTENSION}}}]}}'
    ),
    "the id of a resource with an extension": f'{{"resourceType":"Patient","id":"a","_id":{EXTENSION}}}',
    "lists side by side": f'{{"resourceType":"Patient","name":[{{"given":["A",null],"_given":[null,{EXTENSION}]}}]}}',
    "extensions without their list": f'{{"resourceType":"Patient","name":[{{"_given":[{EXTENSION}]}}]}}',
    "a contained resource": (
        '{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"o","name":"x"}],'
        '"managingOrganization":{"reference":"#o"}}'
    ),
    "a contained resource that names its container": (
        '{"resourceType":"Patient","contained":[{"resourceType":"Coverage","id":"c","status":"active",'
        '"beneficiary":{"reference":"#"},"payor":[{"display":"x"}]}]}'
    ),
    "a type that R4 has and R4B has not": '{"resourceType":"MedicinalProduct","name":[{"productName":"x"}]}',
    "a conditional reference in a transaction": (
        '{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"POST","url":"Basic"},"resource":'
        '{"resourceType":"Basic","code":{"text":"x"},"subject":{"reference":"Patient?identifier=a|b"}}}]}'
    ),
    "a reference to a version": f'{{{OBSERVATION},"subject":{{"reference":"Patient/1/_history/2"}}}}',
    "by URN": f'{{{OBSERVATION},"subject":{{"reference":"urn:uuid:0dc5c0f8-5b54-4d52-8b65-6d7b3b4b4d9c"}}}}',
    "an element of its own called resourceType": (
        '{"resourceType":"ExampleScenario","status":"draft","instance":[{"resourceId":"a","resourceType":"Patient"}]}'
    ),
}

REFUSED = {
    "no object": ("[]", ["error structure Resource: expects a resource"]),
    "no type": ("{}", ["error structure Resource: has no resourceType"]),
    "a type that is no string": ('{"resourceType":1}', ["error structure Resource: has no resourceType"]),
    "a type of R4B alone": (
        '{"resourceType":"Ingredient"}',
        ["error not-supported Resource: Ingredient is a type of R4B, which R4 does not define"],
    ),
    "an abstract type": (
        '{"resourceType":"DomainResource"}',
        ["error not-supported Resource: has a resourceType that R4 does not define"],
    ),
    "an unknown element": (f'{{{OBSERVATION},"foo":1}}', ["error structure Observation.foo: is not an element of R4"]),
    "an element of R4B alone": (
        f'{{{OBSERVATION},"extension":[{{"url":"http://e","valueRatioRange":{{"denominator":{{"value":1}}}}}}]}}',
        ["error structure Observation.extension[0].valueRatioRange: is not an element of R4"],
    ),
    "a name that is not repeated": (
        f'{{{OBSERVATION},"Erika Muster":1}}',
        ["error structure Observation: holds an unknown member"],
    ),
    "an object for a list": (
        f'{{{OBSERVATION},"note":{{"text":"x"}}}}',
        ["error structure Observation.note: expects a list"],
    ),
    "a list for an object": (
        f'{{{OBSERVATION},"subject":[]}}',
        ["error structure Observation.subject: expects an object"],
    ),
    "a string for an object": (
        f'{{{OBSERVATION},"subject":"x"}}',
        ["error structure Observation.subject: expects an object"],
    ),
    "null in a list": (f'{{{OBSERVATION},"note":[null]}}', ["error structure Observation.note[0]: expects an object"]),
    "a string for a list of strings": (
        '{"resourceType":"Patient","name":[{"given":"A"}]}',
        ["error structure Patient.name[0].given: expects a list"],
    ),
    "a list for a string": (
        '{"resourceType":"Patient","gender":["male"]}',
        ["error structure Patient.gender: expects a JSON string, found list"],
    ),
    "null alone": (
        '{"resourceType":"Patient","gender":null}',
        ["error structure Patient.gender: expects a JSON string, found null"],
    ),
    "an empty object": (f'{{{OBSERVATION},"subject":{{}}}}', ["error structure Observation.subject: is empty"]),
    "an empty list": (f'{{{OBSERVATION},"note":[]}}', ["error structure Observation.note: is an empty list"]),
    "an empty list of strings": (
        '{"resourceType":"Patient","name":[{"given":[]}]}',
        ["error structure Patient.name[0].given: is an empty list"],
    ),
    "an empty list of contained resources": (
        '{"resourceType":"Patient","contained":[]}',
        ["error structure Patient.contained: is an empty list"],
    ),
    "an empty string": (
        '{"resourceType":"Patient","name":[{"family":""}]}',
        ["error value Patient.name[0].family: is empty"],
    ),
    "a decimal as a string": (
        f'{{{OBSERVATION},"valueQuantity":{{"value":"7.2"}}}}',
        ["error structure Observation.valueQuantity.value: expects a JSON number, found string"],
    ),
    "a boolean as a string": (
        '{"resourceType":"Patient","active":"true"}',
        ["error structure Patient.active: expects a JSON boolean, found string"],
    ),
    "a boolean as a number": (
        '{"resourceType":"Patient","active":1}',
        ["error structure Patient.active: expects a JSON boolean, found number"],
    ),
    "a number as a boolean": (
        f'{{{OBSERVATION},"valueInteger":true}}',
        ["error structure Observation.valueInteger: expects a JSON number, found boolean"],
    ),
    "a missing element": (
        '{"resourceType":"Observation"}',
        ["error required Observation.status: is required", "error required Observation.code: is required"],
    ),
    "a missing choice": (
        '{"resourceType":"MedicationStatement","status":"unknown","subject":{"display":"x"}}',
        ["error required MedicationStatement.medication[x]: is required"],
    ),
    "an extension without its URL": (
        '{"resourceType":"Patient","extension":[{"valueString":"x"}]}',
        ["error required Patient.extension[0].url: is required"],
    ),
    "two forms of a choice": (
        f'{{{OBSERVATION},"valueString":"x","valueBoolean":true}}',
        ["error structure Observation: holds more than one form of value[x]"],
    ),
    "two forms of a choice, one by its extension": (
        f'{{{OBSERVATION},"valueString":"x","_valueBoolean":{EXTENSION}}}',
        ["error structure Observation: holds more than one form of value[x]"],
    ),
    "a code outside a required value set": (
        '{"resourceType":"Observation","status":"foo","code":{"text":"x"}}',
        ["error code-invalid Observation.status: is not a code of the required value set"],
    ),
    "a code outside in a list": (
        '{"resourceType":"AllergyIntolerance","patient":{"display":"x"},"category":["food","foo"],'
        '"clinicalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical",'
        '"code":"active"}]}}',
        ["error code-invalid AllergyIntolerance.category[1]: is not a code of the required value set"],
    ),
    "a concept outside a required value set": (
        '{"resourceType":"Condition","subject":{"display":"x"},"clinicalStatus":{"coding":[{"system":"http://e","code":"active"}]}}',
        ["error code-invalid Condition.clinicalStatus: has no coding of the required value set"],
    ),
    "a concept with text alone": (
        '{"resourceType":"Condition","subject":{"display":"x"},"clinicalStatus":{"text":"active"}}',
        ["error code-invalid Condition.clinicalStatus: has no coding of the required value set"],
    ),
    "an extension for a list of them": (
        f'{{"resourceType":"Patient","name":[{{"given":["A"],"_given":{EXTENSION}}}]}}',
        ["error structure Patient.name[0]._given: expects a list"],
    ),
    "a list for an extension": (
        f'{{"resourceType":"Patient","gender":"male","_gender":[{EXTENSION}]}}',
        ["error structure Patient._gender: expects an object"],
    ),
    "lists of different length": (
        f'{{"resourceType":"Patient","name":[{{"given":["A","B"],"_given":[{EXTENSION}]}}]}}',
        ["error structure Patient.name[0]._given: is not as long as the list it belongs to"],
    ),
    "null in both lists": (
        f'{{"resourceType":"Patient","name":[{{"given":["A",null],"_given":[{EXTENSION},null]}}]}}',
        [
            "error structure Patient.name[0].given[1]: expects a JSON string, found null",
            "error structure Patient.name[0]._given[1]: has neither a value nor an extension",
        ],
    ),
    "an unknown member beside a primitive": (
        '{"resourceType":"Patient","_gender":{"value":"male"}}',
        ["error structure Patient._gender.value: is not an element of R4"],
    ),
    "an extension beside what cannot have one": (
        f'{{"resourceType":"Patient","extension":[{{"url":"http://e","_url":{EXTENSION},"valueString":"x"}}]}}',
        ["error structure Patient.extension[0]._url: is not an element of R4"],
    ),
    "contained in contained": (
        '{"resourceType":"Patient","contained":[{"resourceType":"Patient","id":"a","contained":'
        '[{"resourceType":"Patient","id":"b"}]}]}',
        ["error invariant Patient: breaks dom-2: contains no resource that contains others"],
    ),
    "contained without id": (
        '{"resourceType":"Patient","contained":[{"resourceType":"Patient","active":true}]}',
        ["error invariant Patient: breaks contained-id: contains only resources with an id"],
    ),
    "contained of no type": (
        '{"resourceType":"Patient","contained":[{"id":"a"}]}',
        ["error structure Patient.contained[0]: has no resourceType"],
    ),
    "a wrong contained resource": (
        '{"resourceType":"Patient","contained":[{"resourceType":"Patient","id":"a","active":"no"}]}',
        ["error structure Patient.contained[0].active: expects a JSON boolean, found string"],
    ),
    "a reference to nothing contained": (
        f'{{{OBSERVATION},"subject":{{"reference":"#p"}}}}',
        ["error invariant Observation.subject: ref-1: names a contained resource that is not there"],
    ),
    "contained with an id that is no string": (
        '{"resourceType":"Patient","contained":[{"resourceType":"Patient","id":["a"]}],'
        '"managingOrganization":{"reference":"#a"}}',
        [
            "error structure Patient.contained[0].id: expects a JSON string, found list",
            "error invariant Patient.managingOrganization: ref-1: names a contained resource that is not there",
        ],
    ),
    "a wrong resource in an entry": (
        '{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","gender":"x"}}]}',
        ["error code-invalid Bundle.entry[0].resource.gender: is not a code of the required value set"],
    ),
    "an entry that refers into another entry's contained": (
        '{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","contained":'
        '[{"resourceType":"Patient","id":"a"}]}},{"resource":{"resourceType":"Patient","link":[{"type":"seealso",'
        '"other":{"reference":"#a"}}]}}]}',
        ["error invariant Bundle.entry[1].resource.link[0].other: ref-1: names a contained resource that is not there"],
    ),
}

UNFOLLOWED = "is neither Type/id of an R4 type, nor an absolute URL, nor #id"
WARNED = {
    "a bare id": f'{{{OBSERVATION},"subject":{{"reference":"17"}}}}',
    "a type of no release": f'{{{OBSERVATION},"subject":{{"reference":"Foo/17"}}}}',
    "a type of another release": f'{{{OBSERVATION},"subject":{{"reference":"ActorDefinition/17"}}}}',
    "an operation": f'{{{OBSERVATION},"subject":{{"reference":"Task/1/$accept?ac=2"}}}}',
    "a conditional reference outside a Bundle": f'{{{OBSERVATION},"subject":{{"reference":"Patient?identifier=a|b"}}}}',
}


@pytest.mark.parametrize("json", GOOD.values(), ids=GOOD)
def test_good(json: str) -> None:
    assert told(json) == []


@pytest.mark.parametrize(("json", "expected"), REFUSED.values(), ids=REFUSED)
def test_refused(json: str, expected: list[str]) -> None:
    assert told(json) == expected


@pytest.mark.parametrize("json", WARNED.values(), ids=WARNED)
def test_a_reference_that_cannot_be_followed_is_a_warning(json: str) -> None:
    assert told(json) == [f"warning value Observation.subject: {UNFOLLOWED}"]


def nested(levels: int) -> dict[str, Any]:
    item: dict[str, Any] = {"linkId": "1", "type": "group"}
    for _ in range(levels - 1):
        item = {"linkId": "1", "type": "group", "item": [item]}
    return {"resourceType": "Questionnaire", "status": "draft", "item": [item]}


@pytest.mark.attack(46)
def test_nesting_is_bounded() -> None:
    most = MAX_DEPTH // 2
    assert check(nested(most)) == ()
    (issue,) = check(nested(most + 1))
    assert (issue.code, issue.text) == ("too-costly", "is nested too deeply")
    assert len(check(nested(50_000))) == 1


@pytest.mark.attack(46)
def test_issues_are_bounded() -> None:
    many = {"resourceType": "Patient", "name": [{"foo": 1}] * 100_000}
    assert len(check(many)) == MAX_ISSUES


def test_no_value_is_ever_told() -> None:
    secret = "Geheim-4711"
    resource = loads(
        f'{{"resourceType":"Observation","id":"{secret} ","status":"{secret}","issued":"{secret}","{secret}":1,'
        f'"text":{{"status":"{secret}","div":"{secret}"}},'
        f'"code":{{"coding":[{{"system":"{secret} x","code":" {secret}"}}]}},'
        f'"subject":{{"reference":"{secret}"}},"valueQuantity":{{"value":"{secret}"}}}}'
    )
    issues = check(resource)
    assert len(issues) >= 8
    assert all(secret not in one.text + one.expression for one in issues)
