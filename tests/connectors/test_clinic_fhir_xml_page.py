"""One wrong resource does not take the page with it, and a wrong page is refused."""

import httpx
import pytest

from connectors import fhir_items, fhir_xml_page
from connectors.contract import Deleted, Found, Item, Reason, Skipped
from connectors.fhir_xml_page import Unreadable
from fhir_profiles import text, xml
from tests.connectors.fhir_source import NOW, clinic, pull

_GOOD = '<Observation><id value="o1"/><status value="final"/><valueInteger value="7"/></Observation>'
_WRONG = (
    '<Observation><id value="o2"/><subject><reference value="Patient/{}"/></subject><mood value="x"/></Observation>'
)


def _bundle(*resources: str) -> bytes:
    entries = "".join(f"<entry><resource>{resource}</resource></entry>" for resource in resources)
    return f'<Bundle xmlns="http://hl7.org/fhir"><type value="searchset"/>{entries}</Bundle>'.encode()


def _items(page: bytes) -> list[Item]:
    answer = httpx.Response(200, headers={"Content-Type": "application/fhir+xml"}, content=page)
    return [item for batch in pull(clinic(Observation=answer)) for item in batch.items][1:]


def test_a_page_without_fault_is_what_fhir_xml_says() -> None:
    assert fhir_xml_page.to_json(_bundle(_GOOD, _GOOD)) == xml.to_json(_bundle(_GOOD, _GOOD))


def test_the_good_beside_the_wrong_is_read_in_its_place() -> None:
    read = fhir_xml_page.to_json(_bundle(_WRONG.format("erika"), _GOOD, _WRONG.format("erika")))
    kinds = [type(entry["resource"]) for entry in read["entry"]]
    assert kinds == [Unreadable, dict, Unreadable]
    assert text.dumps(read["entry"][1]["resource"]) == text.dumps(xml.to_json(_bundle(_GOOD))["entry"][0]["resource"])


@pytest.mark.attack(57)
def test_a_wrong_resource_is_kept_when_hers_and_left_out_when_anothers() -> None:
    hers, his = _items(_bundle(_WRONG.format("erika"), _WRONG.format("otto")))
    assert isinstance(hers, Skipped)
    assert isinstance(his, Skipped)
    assert (hers.reason, b"mood" in hers.raw) == (Reason.UNREADABLE, True)
    assert (his.reason, his.raw) == (Reason.OTHER_PERSON, b"")


@pytest.mark.parametrize(
    "resource",
    ["", "<Observation/>", _GOOD + _GOOD, '<Observation><id value="a"/><id value="b"/></Observation>'],
    ids=["none", "empty", "two in one", "two ids"],
)
def test_a_resource_without_one_name_is_kept_aside_beside_the_good(resource: str) -> None:
    items = _items(_bundle(_WRONG.format("erika"), resource, _GOOD))
    assert isinstance(items[-1], Found)
    assert isinstance(items[1], Skipped)
    assert items[1].reason in (Reason.INVALID, Reason.UNREADABLE)


@pytest.mark.attack(46)
@pytest.mark.parametrize(
    "page",
    [
        b"<Bundle",
        b'<Bundle xmlns="http://hl7.org/fhir"><mood value="x"/></Bundle>',
        _bundle(_WRONG.format("erika")).replace(b"<type", b"<mood"),
        _bundle(_WRONG.format("erika")).replace(b"<type", b"lost text<type"),
        _bundle(_WRONG.format("erika")).replace(b"<resource>", b"<resource>lost text"),
        b"<!DOCTYPE Bundle [<!ENTITY e 'x'>]>" + _bundle(_WRONG.format("&e;")),
        b'<Observation xmlns="http://hl7.org/fhir"><mood value="x"/></Observation>',
        _bundle("<a>" * 5000 + "</a>" * 5000),
    ],
)
def test_a_page_that_is_wrong_itself_is_refused(page: bytes) -> None:
    with pytest.raises(xml.NotXml):
        fhir_xml_page.to_json(page)


def test_a_wrong_resource_in_a_history_still_says_whose_it_is() -> None:
    account = fhir_items.Account(base="https://a.example/", patient_id="erika", types=frozenset())
    his, hers = (
        entry for entry in fhir_xml_page.to_json(_bundle(_WRONG.format("otto"), _WRONG.format("erika")))["entry"]
    )
    assert isinstance(fhir_items.gone(account, his, NOW), Deleted)
    assert fhir_items.gone(account, hers, NOW) is None
