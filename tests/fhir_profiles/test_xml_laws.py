"""Laws over resources drawn from the tables of R4: XML and text give back what came, the check always answers."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_profiles import structure
from fhir_profiles.check import check
from fhir_profiles.text import Number, Resource, dumps, loads
from fhir_profiles.xml import to_json, to_xml

# What XML 1.0 can write: https://www.w3.org/TR/xml/#charsets
LETTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff", include_characters="\t\n\r")
TEXTS = st.text(LETTERS, min_size=1, max_size=12)
INTEGERS = st.integers(-(2**31), 2**31 - 1)
DECIMALS = st.one_of(
    INTEGERS, st.from_regex(r"-?(0|[1-9][0-9]{0,9})\.[0-9]{1,12}([eE]-?[0-9]{1,2})?", fullmatch=True).map(Number)
)
DIVS = st.text(LETTERS.filter(lambda one: one not in "<>&\r"), min_size=1, max_size=12).map(
    lambda text: f'<div xmlns="http://www.w3.org/1999/xhtml"><p title="t">{text}</p></div>'
)
SCALARS = {
    "boolean": st.booleans(),
    "decimal": DECIMALS,
    "integer": INTEGERS,
    "positiveInt": INTEGERS,
    "unsignedInt": INTEGERS,
    "xhtml": DIVS,
}
BESIDE = st.builds(lambda text: {"id": text, "extension": [{"url": "http://e", "valueString": text}]}, TEXTS)


def one_of_each_choice(elements: list[structure.Element]) -> list[structure.Element]:
    return list({element.choice or element.name: element for element in elements}.values())


@st.composite
def objects(draw: st.DrawFn, name: str, depth: int) -> dict[str, Any]:
    """An object of this type: right in structure and JSON types, not in anything else."""
    fitting = [one for one in structure.type_of(name).elements.values() if depth or one.type in structure.PRIMITIVES]
    made: dict[str, Any] = {}
    for element in one_of_each_choice(draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=4))):
        made |= draw(members(element, depth - 1))
    return made


@st.composite
def members(draw: st.DrawFn, element: structure.Element, depth: int) -> dict[str, Any]:
    if element.type not in structure.PRIMITIVES:
        inner = resources(depth) if element.type == "Resource" else objects(element.type, depth)
        return {element.name: draw(st.lists(inner, min_size=1, max_size=2) if element.many else inner)}
    value = SCALARS.get(element.type, TEXTS)
    if not element.has_sibling:
        return {element.name: draw(value)}
    pair = st.one_of(st.tuples(value, st.none()), st.tuples(st.none(), BESIDE), st.tuples(value, BESIDE))
    if element.many:
        values, besides = zip(*draw(st.lists(pair, min_size=1, max_size=3)), strict=True)
        written = {element.name: list(values), "_" + element.name: list(besides)}
        return {key: listed for key, listed in written.items() if any(one is not None for one in listed)}
    one, beside = draw(pair)
    return {key: part for key, part in ((element.name, one), ("_" + element.name, beside)) if part is not None}


@st.composite
def resources(draw: st.DrawFn, depth: int = 3) -> Resource:
    name = draw(st.sampled_from(sorted(structure.RESOURCES)))
    return {"resourceType": name, **draw(objects(name, depth))}


@settings(max_examples=150, deadline=None)
@given(resources())
def test_xml_gives_back_what_it_was_given(resource: Resource) -> None:
    assert to_json(to_xml(resource)) == resource


@settings(max_examples=150, deadline=None)
@given(resources())
def test_text_gives_back_what_it_was_given(resource: Resource) -> None:
    printed = dumps(resource)
    assert loads(printed) == resource
    assert dumps(loads(printed)) == printed


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), INTEGERS, TEXTS, DECIMALS),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)


@st.composite
def damaged(draw: st.DrawFn) -> Resource:
    """A resource in which one member, somewhere, became any JSON."""
    resource = draw(resources())
    node: Any = resource
    while True:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if isinstance(node[key], dict | list) and node[key] and draw(st.booleans()):
            node = node[key]
            continue
        node[key] = draw(JSON)
        return resource


@settings(max_examples=300, deadline=None)
@given(damaged())
def test_the_check_answers_whatever_it_is_given(resource: Resource) -> None:
    for issue in check(resource):
        assert issue.severity in ("error", "warning")
        assert issue.expression
        assert issue.text
