"""FHIR XML to JSON and back: the pairs in xml/, what is forgiven, and every refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fhir_profiles.check import check
from fhir_profiles.text import loads
from fhir_profiles.xml import NotXml, to_json, to_xml

PAIRS = Path(__file__).parent / "xml"
NAMES = sorted(path.stem for path in PAIRS.glob("*.xml"))
F = 'xmlns="http://hl7.org/fhir"'
X = 'xmlns="http://www.w3.org/1999/xhtml"'


def json_of(name: str) -> Any:
    return loads((PAIRS / f"{name}.json").read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_xml_to_json(name: str) -> None:
    made = to_json((PAIRS / f"{name}.xml").read_bytes())
    assert made == json_of(name)
    assert list(made) == list(json_of(name))
    assert check(made) == ()


@pytest.mark.parametrize("name", NAMES)
def test_json_to_xml(name: str) -> None:
    assert to_xml(json_of(name)) + b"\n" == (PAIRS / f"{name}.xml").read_bytes()


FORGIVEN = {
    "white space, comments and processing instructions": (
        f'<?xml version="1.0"?><!-- c --><Patient {F}>\n  <!-- c --><?p x?>\n  <active value="true"/>\n</Patient>',
        {"resourceType": "Patient", "active": True},
    ),
    "a prefix": (
        '<f:Patient xmlns:f="http://hl7.org/fhir"><f:active value="true"/></f:Patient>',
        {"resourceType": "Patient", "active": True},
    ),
    "a schema's place": (
        f'<Patient {F} xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b">'
        '<active value="true"/></Patient>',
        {"resourceType": "Patient", "active": True},
    ),
    "a narrative within namespaces that it does not need": (
        f'<Patient {F} xmlns:q="urn:q"><text><status value="empty"/><div {X}>x</div></text></Patient>',
        {"resourceType": "Patient", "text": {"status": "empty", "div": f"<div {X}>x</div>"}},
    ),
}


@pytest.mark.parametrize(("xml", "expected"), FORGIVEN.values(), ids=FORGIVEN)
def test_forgiven(xml: str, expected: Any) -> None:
    assert to_json(xml.encode()) == expected


def test_the_declared_encoding_counts() -> None:
    xml = f'<?xml version="1.0" encoding="ISO-8859-1"?><Organization {F}><name value="Söhne"/></Organization>'
    assert to_json(xml.encode("iso-8859-1")) == {"resourceType": "Organization", "name": "Söhne"}


NOT_XML = {
    "no XML": ("{}", "not well-formed at line 1 column 1"),
    "nothing": ("", "not well-formed at line 1 column 1"),
    "half of it": (f"<Patient {F}>", "not well-formed at line 1 column"),
    "no namespace": ("<Patient/>", "the document holds an element of another namespace than FHIR's"),
    "another namespace": (
        '<Patient xmlns="urn:hl7-org:v3"/>',
        "the document holds an element of another namespace than FHIR's",
    ),
    "another root": (f"<foo {F}/>", "the document holds no resource type of R4"),
    "a type of R4B alone": (f"<Ingredient {F}/>", "the document holds no resource type of R4"),
    "a data type as root": (f"<HumanName {F}/>", "the document holds no resource type of R4"),
    "an unknown element": (
        f'<Patient {F}><name><foo value="1"/></name></Patient>',
        "Patient.name.foo is not an element of R4",
    ),
    "a name that is not repeated": (
        f"<Patient {F}><Ärztin/></Patient>",
        "Patient holds something that is not an element of R4",
    ),
    "an attribute as an element": (
        f'<Patient {F}><extension><url value="x"/></extension></Patient>',
        "Patient.extension.url is not an element of R4",
    ),
    "an element of another namespace": (
        f'<Patient {F}><x xmlns="urn:x"/></Patient>',
        "Patient holds an element of another namespace than FHIR's",
    ),
    "an unknown attribute": (f'<Patient {F} foo="x"/>', "Patient holds an unknown attribute"),
    "a value on an object": (f'<Patient {F}><name value="x"/></Patient>', "Patient.name holds an unknown attribute"),
    "an unknown attribute on a primitive": (
        f'<Patient {F}><gender value="male" foo="x"/></Patient>',
        "Patient.gender holds an unknown attribute",
    ),
    "text": (f"<Patient {F}>x</Patient>", "Patient holds text beside its elements"),
    "text behind an element": (
        f'<Patient {F}><active value="true"/>x</Patient>',
        "Patient holds text beside its elements",
    ),
    "text in a primitive": (
        f'<Patient {F}><active value="true">x</active></Patient>',
        "Patient.active holds text beside its elements",
    ),
    "twice a primitive": (
        f'<Patient {F}><active value="true"/><active value="true"/></Patient>',
        "Patient.active is there more than once",
    ),
    "twice an object": (
        f"<Patient {F}><maritalStatus/><maritalStatus/></Patient>",
        "Patient.maritalStatus is there more than once",
    ),
    "an empty primitive": (f"<Patient {F}><active/></Patient>", "Patient.active has neither a value nor an extension"),
    "an element within a primitive": (
        f'<Patient {F}><active value="true"><name/></active></Patient>',
        "Patient.active holds an element beside its value",
    ),
    "no boolean": (f'<Patient {F}><active value="yes"/></Patient>', "Patient.active is neither true nor false"),
    "no number": (
        f'<Patient {F}><multipleBirthInteger value="x"/></Patient>',
        "Patient.multipleBirthInteger is not a number",
    ),
    "a number with zeros before it": (
        f'<Patient {F}><multipleBirthInteger value="007"/></Patient>',
        "Patient.multipleBirthInteger is not a number",
    ),
    "a word for a number": (
        f'<Patient {F}><multipleBirthInteger value="true"/></Patient>',
        "Patient.multipleBirthInteger is not a number",
    ),
    "a number within spaces": (
        f'<Patient {F}><multipleBirthInteger value=" 7"/></Patient>',
        "Patient.multipleBirthInteger is not a number",
    ),
    "nothing contained": (f"<Patient {F}><contained/></Patient>", "Patient.contained must hold one resource"),
    "two contained in one": (
        f"<Patient {F}><contained><Patient/><Patient/></contained></Patient>",
        "Patient.contained must hold one resource",
    ),
    "a document type": (f"<!DOCTYPE Patient><Patient {F}/>", "a document type is not accepted"),
    "an entity": (
        f'<!DOCTYPE Patient [<!ENTITY e "x">]><Patient {F}><id value="&e;"/></Patient>',
        "a document type is not accepted",
    ),
    "an entity that grows": (
        '<!DOCTYPE p [<!ENTITY a "aaaaaaaaaa">'
        + "".join(f'<!ENTITY {n} "{f"&{p};" * 10}">' for p, n in zip("abcdefgh", "bcdefghi", strict=True))
        + f']><Patient {F}><id value="&i;"/></Patient>',
        "",
    ),
    "a file from outside": (
        f'<!DOCTYPE p [<!ENTITY e SYSTEM "file:///etc/hostname">]><Patient {F}>&e;</Patient>',
        "a document type is not accepted",
    ),
    "too much nesting": (f"<Patient {F}>" + "<extension>" * 5_000, "not well-formed at line 1 column"),
}


@pytest.mark.attack(46)
@pytest.mark.parametrize(("xml", "text"), NOT_XML.values(), ids=NOT_XML)
def test_not_xml(xml: str, text: str) -> None:
    with pytest.raises(NotXml) as caught:
        to_json(xml.encode())
    assert str(caught.value).startswith(text)


NO_PLACE = {
    "no object": ([], "the document holds no resource type of R4"),
    "no type": ({}, "the document holds no resource type of R4"),
    "an unknown element": ({"foo": 1}, "Patient.foo is not an element of R4"),
    "a name that is not repeated": ({"Erika Muster": 1}, "Patient holds something that is not an element of R4"),
    "an extension beside an object": ({"_name": [{}]}, "Patient._name is not an element of R4"),
    "an object for a list": ({"name": {}}, "Patient.name expects a list"),
    "an empty list": ({"name": []}, "Patient.name is an empty list"),
    "null": ({"gender": None}, "Patient.gender has neither a value nor an extension"),
    "null in a list": ({"name": [{"given": [None]}]}, "Patient.name.given has neither a value nor an extension"),
    "a string for an object": ({"name": ["x"]}, "Patient.name expects an object"),
    "an object for a string": ({"gender": {}}, "Patient.gender expects a string, number or boolean"),
    "a control character": ({"gender": "a\x00"}, "Patient.gender holds a character that XML does not know"),
    "an open narrative": ({"text": {"div": "<p>"}}, "Patient.text.div is not well-formed XHTML"),
    "a narrative that is no string": ({"text": {"div": 1}}, "Patient.text.div is not well-formed XHTML"),
    "a narrative that is no div": ({"text": {"div": "<p/>"}}, "Patient.text.div is not one div in the XHTML namespace"),
    "a contained string": ({"contained": ["x"]}, "Patient.contained holds no resource type of R4"),
}


@pytest.mark.parametrize(("members", "text"), NO_PLACE.values(), ids=NO_PLACE)
def test_no_place_in_xml(members: Any, text: str) -> None:
    resource = {"resourceType": "Patient", **members} if isinstance(members, dict) and members else members
    with pytest.raises(NotXml) as caught:
        to_xml(resource)
    assert str(caught.value) == text


@pytest.mark.attack(46)
def test_a_long_list_of_primitives() -> None:
    names = 50_000
    xml = f"<Patient {F}><name>" + '<given value="x"/>' * names + "</name></Patient>"
    assert to_json(xml.encode())["name"] == [{"given": ["x"] * names}]


@pytest.mark.attack(46)
def test_nesting_beyond_python() -> None:
    extension: dict[str, Any] = {"url": "http://e", "valueString": "x"}
    for _ in range(20_000):
        extension = {"url": "http://e", "extension": [extension]}
    with pytest.raises(NotXml, match="nested too deeply"):
        to_xml({"resourceType": "Patient", "extension": [extension]})
