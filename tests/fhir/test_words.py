"""_text and _content: what they read, how words are joined, what is refused, and that the index is built once."""

from __future__ import annotations

import pytest

from aggregator.fhir import words
from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.search import search
from aggregator.vault.meter import TooMuchWork
from fhir_profiles.text import dumps, loads
from tests.fhir.world import LINKS, SmallView, names, pairs, record, view_of

META = {"versionId": "1", "lastUpdated": "2026-11-20T03:12:44+01:00"}
XHTML = '<div xmlns="http://www.w3.org/1999/xhtml">'


def condition(name: str, narrative: str, **more: object) -> dict[str, object]:
    text = {"status": "generated", "div": f"{XHTML}{narrative}</div>"} if narrative else None
    made = {"resourceType": "Condition", "id": f"k3.{name}", "meta": META, **({"text": text} if text else {})}
    return made | {"subject": {"reference": "Patient/k3.erika"}} | more


RECORDS = [
    condition("lung", "<p>Akute <b>Bronchitis</b>, geh&ouml;rt</p>", code={"coding": [{"code": "J20.9"}]}),
    condition("liver", "Leberbiopsie am Fuß", code={"text": "Entzündung der Leber, Biopsie"}),
    condition("kidney", "", note=[{"text": "Niere: keine Biopsie, chronische Bronchitis"}]),
    condition("attached", "", extension=[{"url": "urn:geheim", "valueAttachment": {"data": "Z2VoZWlt"}}]),
]


def small() -> SmallView:
    return view_of(record(dumps(one)) for one in RECORDS)


VIEW = small()

FOUND: dict[str, list[str]] = {
    "_text=bronchitis": ["lung"],
    "_text=BRONCHITIS": ["lung"],
    "_text=gehort": ["lung"],
    "_text=p": [],
    "_text=fuss": ["liver"],
    "_text=Biopsie": [],
    "_content=bronchitis": ["kidney", "lung"],
    "_content=entzundung": ["liver"],
    "_content=J20.9": ["lung"],
    "_content=leber,niere": ["kidney", "liver"],
    "_content=leber or niere": ["kidney", "liver"],
    "_content=leber niere": [],
    "_content=biopsie and leber": ["liver"],
    "_content=biopsie not leber": ["kidney"],
    "_content=(leber or niere) and biopsie": ["kidney", "liver"],
    '_content="chronische bronchitis"': ["kidney"],
    '_content="bronchitis chronische"': [],
    '_content="and"': [],
    "_content=biopsie&_text=fuß": ["liver"],
    "_content=erika": [],
    "_content=Z2VoZWlt": [],
    "_content=geheim": [],
    "_content=w3": [],
    '_content="near(biopsie leber)"': [],
    "_content=biop*": [],
}


@pytest.mark.parametrize("query", FOUND)
def test_found(query: str) -> None:
    assert names(loads(search(VIEW, "Condition", pairs(query), LINKS, strict=True).body)) == FOUND[query]


def test_several_types_and_chains() -> None:
    assert names(loads(search(VIEW, "", pairs("_content=leber"), LINKS, strict=True).body)) == ["liver"]
    asked = pairs("_has:Condition:subject:_content=leber")
    assert names(loads(search(VIEW, "Patient", asked, LINKS, strict=True).body)) == []


REFUSED = ["(", ")", "a)", "(a", "and", "a and", "not a", "a or or b", '"', "...", "()", '""', "a\x00b", " ", "(" * 40]


@pytest.mark.attack(46)
@pytest.mark.parametrize("value", REFUSED)
@pytest.mark.parametrize("name", words.COLUMNS)
def test_refused(name: str, value: str) -> None:
    with pytest.raises(BadQuery, match=rf"^{name}: no(t)? words"):
        search(VIEW, "Condition", [(name, value)], LINKS)


@pytest.mark.parametrize("value", [" ".join(["SECRET"] * 51), ",".join(["SECRET"] * 51)])
def test_too_much_is_refused(value: str) -> None:
    with pytest.raises(BadQuery, match="more than 50"):
        search(VIEW, "Condition", [("_content", value)], LINKS)


def test_the_index_counts_into_the_view_s_size_and_is_built_once() -> None:
    view = small()
    before = view.image.size
    search(view, "Condition", pairs("_content=leber"), LINKS)
    after = view.image.size
    assert after > before
    search(view, "Condition", pairs("_text=leber"), LINKS)
    assert view.image.size == after


def test_an_index_that_would_take_too_long_is_not_begun_and_one_that_is_stopped_is_not_there() -> None:
    view = view_of(record(dumps(condition(f"c{number:03}", "Leber"))) for number in range(600))
    with view.image.meter.allow(20), pytest.raises(TooMuchWork):
        search(view, "Condition", pairs("_content=leber"), LINKS)
    with view.image.meter.allow(1000):
        view.image.meter.stop()
        with pytest.raises(TooMuchWork):
            search(view, "Condition", pairs("_content=leber"), LINKS)
    bundle = loads(search(view, "Condition", pairs("_content=leber&_summary=count"), LINKS).body)
    assert bundle["total"] == 600
