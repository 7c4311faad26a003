"""What a FHIR source may answer instead of what it should: who must act, and that nothing is half-stored."""

import json
from typing import Any

import httpx
import pytest

from connectors.contract import (
    Batch,
    ConnectorError,
    Found,
    Item,
    NeedsOperator,
    NeedsPatient,
    Reason,
    Skipped,
    SourceChanged,
    Transient,
)
from fhir_profiles import text
from tests.connectors.fhir_source import (
    BASE,
    DATE,
    TOKEN,
    Answers,
    Chunks,
    capabilities,
    clinic,
    fhir,
    observation,
    pull,
    searchset,
)
from tests.weaken import weakens

_JSON = {"Content-Type": "application/fhir+json"}
_PAGE = text.dumps(searchset(observation("o1")))


def _items(batches: list[Batch]) -> list[Item]:
    return [item for batch in batches for item in batch.items]


def _raw(body: bytes, content_type: str = "application/fhir+json", status: int = 200) -> httpx.Response:
    return httpx.Response(status, headers={"Content-Type": content_type}, content=body)


_BAD_PAGES: dict[str, tuple[httpx.Response, type[ConnectorError], str]] = {
    "HTML": (_raw(b"<html>Bitte anmelden</html>", "text/html"), NeedsOperator, "web page"),
    "HTML that calls itself FHIR": (_raw(b" <!DOCTYPE HTML><p>x</p>"), NeedsOperator, "web page"),
    "401": (httpx.Response(401), NeedsPatient, "the patient must"),
    "403": (httpx.Response(403), NeedsPatient, "the patient must"),
    "404": (httpx.Response(404), NeedsOperator, "base_url"),
    "429": (httpx.Response(429, headers={"Retry-After": "600"}), Transient, "429"),
    "500": (httpx.Response(500), Transient, "500"),
    "nothing": (_raw(b""), Transient, "cut off"),
    "204": (httpx.Response(204), Transient, "cut off"),
    "half a page": (_raw(_PAGE[: len(_PAGE) // 2]), Transient, "cut off"),
    "half a page of XML": (
        _raw(b'<Bundle xmlns="http://hl7.org/fhir"><ty', "application/fhir+xml"),
        Transient,
        "cut off",
    ),
    "50 MB": (httpx.Response(200, headers=_JSON, stream=Chunks([b" " * (1 << 20)] * 50)), NeedsOperator, "page_size"),
    "no JSON": (_raw(b"{resourceType: Bundle}"), SourceChanged, "does not parse"),
    "a key twice": (_raw(b'{"resourceType": "Bundle", "type": "a", "type": "b"}'), SourceChanged, "does not parse"),
    "no XML": (_raw(b"<Bundle>", "application/fhir+xml"), SourceChanged, "does not parse"),
    "an XML entity": (
        _raw(b'<!DOCTYPE B [<!ENTITY e SYSTEM "file:///etc/passwd">]><B>&e;</B>', "text/xml"),
        SourceChanged,
        "does not parse",
    ),
    "a list": (_raw(b'[{"resourceType": "Bundle"}]'), SourceChanged, "no FHIR resource"),
    "deep nesting": (_raw(b'{"a":' * 100 + b"{}" + b"}" * 100), SourceChanged, "no FHIR resource"),
    "very deep nesting": (_raw(b'{"a":' * 100_000 + b"{}" + b"}" * 100_000), SourceChanged, "does not parse"),
    "CSV": (_raw(b"id;value\n1;<2>", "text/csv"), SourceChanged, "other than FHIR"),
    "no Bundle": (fhir(observation("o1")), SourceChanged, "searchset Bundle"),
    "an OperationOutcome": (fhir({"resourceType": "OperationOutcome"}), SourceChanged, "searchset Bundle"),
    "another Bundle": (fhir(searchset() | {"type": "history"}), SourceChanged, "searchset Bundle"),
    "entries that are no list": (fhir(searchset() | {"entry": {"resource": {}}}), SourceChanged, "no list"),
    "a page elsewhere": (fhir(searchset(following="https://evil.example/2")), NeedsOperator, "another address"),
    "a page nowhere": (fhir(searchset(following="https://[::1")), SourceChanged, "no address"),
}


@pytest.mark.attack(46, 54)
@pytest.mark.parametrize(("answer", "error", "says"), _BAD_PAGES.values(), ids=_BAD_PAGES.keys())
def test_a_bad_page_ends_the_pull_and_moves_no_cursor(
    answer: httpx.Response, error: type[ConnectorError], says: str
) -> None:
    batches: list[Batch] = []
    with pytest.raises(error, match=says) as raised:
        pull(clinic(Observation=answer), into=batches)
    assert not any(batch.cursor or batch.listed for batch in batches)
    assert not any(word in str(raised.value) for word in (TOKEN, "erika", "klinik.example", "?", "evil"))


def _next_page_number(request: httpx.Request) -> int:
    return int(request.url.params.get("page", "1")) + 1


_LOOPS: dict[str, Answers] = {
    "the same link": lambda _: fhir(searchset(observation("o1"), following=f"{BASE}/Observation?page=2")),
    "the same page under new links": lambda request: fhir(
        searchset(observation("o1"), following=f"{BASE}/Observation?page={_next_page_number(request)}")
    ),
    "two links in turn": lambda request: fhir(
        searchset(
            observation(f"o{request.url.params.get('page')}"),
            following=f"{BASE}/Observation?page={_next_page_number(request) % 2}",
        )
    ),
    "empty pages without end": lambda request: fhir(
        searchset(following=f"{BASE}/Observation?page={_next_page_number(request)}")
    ),
}


@pytest.mark.attack(54)
@pytest.mark.parametrize("answer", _LOOPS.values(), ids=_LOOPS.keys())
def test_the_same_page_for_ever_is_noticed(answer: Answers) -> None:
    with pytest.raises(SourceChanged, match="again and again"):
        pull(clinic(Observation=answer))


@pytest.mark.attack(57)
@weakens("connectors.fhir_items", "is_of", lambda *_: True)
def test_another_patients_data_is_refused_without_its_payload() -> None:
    page = searchset(
        observation("mine"),
        observation("his", "otto", valueString="Geheimnis"),
        observation("hers-elsewhere") | {"subject": {"reference": "https://other.example/fhir/Patient/erika"}},
        {"resourceType": "Patient", "id": "otto", "name": [{"family": "Geheimnis"}]},
        {"resourceType": "Raumschiff", "id": "r1", "name": "Geheimnis", "subject": {"reference": "Patient/otto"}},
    )
    found, *others = _items(pull(clinic(Observation=fhir(page))))[1:]
    assert isinstance(found, Found)
    assert len(others) == 4
    for refused in others:
        assert isinstance(refused, Skipped)
        assert (refused.reason, refused.raw) == (Reason.OTHER_PERSON, b"")
        assert "Geheimnis" not in repr(refused)


@pytest.mark.attack(57)
@weakens("connectors.fhir_items", "name", lambda _: "Patient/erika")
def test_another_patient_in_place_of_the_patient_stops_the_pull() -> None:
    with pytest.raises(SourceChanged, match="other than the Patient"):
        pull(clinic(erika=fhir({"resourceType": "Patient", "id": "otto"})))


@pytest.mark.parametrize("status", [404, 410])
def test_a_patient_who_is_no_more_must_connect_again(status: int) -> None:
    with pytest.raises(NeedsPatient, match="no longer knows this account"):
        pull(clinic(erika=httpx.Response(status)))


def test_an_unknown_resource_type_keeps_its_payload() -> None:
    strange = {"resourceType": "Raumschiff", "id": "r1", "warp": 9}
    (skipped,) = _items(pull(clinic(Observation=fhir(searchset(strange)))))[1:]
    assert isinstance(skipped, Skipped)
    assert (skipped.reason, text.loads(skipped.raw)) == (Reason.UNKNOWN_TYPE, strange)


_STRANGE: list[Any] = [
    observation("o1") | {"subject": "Patient/otto"},
    observation("o2") | {"subject": [1, None, {"reference": 7}]},
    observation("o3")
    | {"status": 5, "valueQuantity": {"value": "7.2"}, "performer": {"reference": ["Practitioner/p"]}},
]
_NAMELESS: list[Any] = [
    None,
    7,
    "text",
    [],
    {},
    {"resourceType": "Observation"},
    {"resourceType": "Observation", "id": 7},
    {"resourceType": ["Observation"], "id": "o4"},
    {"resourceType": "Observation", "id": "../Patient/otto"},
    {"resourceType": "Observation", "id": "o5/_history/1"},
]


def test_wrong_json_types_pass_through_for_the_check_to_judge() -> None:
    items = _items(pull(clinic(Observation=fhir(searchset(*_STRANGE)))))[1:]
    assert [item.resource for item in items if isinstance(item, Found)] == _STRANGE


def test_what_has_no_name_is_kept_aside_and_is_the_same_at_every_pull() -> None:
    first, second = (_items(pull(clinic(Observation=fhir(searchset(*_NAMELESS)))))[1:] for _ in range(2))
    assert first == second
    assert len({item.origin.source_id for item in first}) == len(_NAMELESS)
    assert {item.reason for item in first if isinstance(item, Skipped)} == {Reason.INVALID}


def test_entries_that_are_no_objects_are_kept_aside() -> None:
    page = searchset() | {"entry": [None, 7, {"search": 5}, {"resource": observation("o1")}]}
    kinds = [type(item) for item in _items(pull(clinic(Observation=fhir(page))))]
    assert kinds == [Found, Skipped, Skipped, Skipped, Found]


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ({"resourceType": "Bundle"}, "no FHIR R4 server"),
        (capabilities("Observation") | {"fhirVersion": "5.0.0"}, "another version"),
        (capabilities("Observation") | {"fhirVersion": None}, "another version"),
        (capabilities(), "no search"),
        (capabilities("Observation") | {"rest": [{"mode": "client"}, 7]}, "no search"),
        (capabilities("Observation") | {"rest": {"resource": 1}}, "no search"),
    ],
)
def test_a_server_that_cannot_be_used_is_the_operators(statement: dict[str, Any], says: str) -> None:
    with pytest.raises(NeedsOperator, match=says):
        pull(clinic(metadata=fhir(statement)))


def test_a_directory_without_end_is_noticed() -> None:
    def organization(request: httpx.Request) -> httpx.Response:
        (local_id,) = request.url.params["_id"].split(",")
        above = {"reference": f"Organization/o{int(local_id[1:]) + 1}"}
        return fhir(searchset({"resourceType": "Organization", "id": local_id, "partOf": above}))

    answers = clinic(
        metadata=fhir(capabilities("Observation", "Organization"), Date=DATE),
        Observation=fhir(searchset(observation("o1", performer=[{"reference": "Organization/o1"}]))),
        Organization=organization,
    )
    with pytest.raises(SourceChanged, match="ever more"):
        pull(answers)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "{}",
        "[]",
        "nonsense",
        '{"since": 5, "run": 1, "types": []}',
        '{"since": "gestern", "run": 1, "types": []}',
        json.dumps({"since": "2027-01-01T00:00:00Z", "run": 1, "types": ["Observation"]}),
    ],
)
@pytest.mark.attack(50)
def test_a_cursor_that_means_nothing_or_lies_ahead_of_the_source_begins_anew(cursor: str) -> None:
    asked: list[httpx.Request] = []
    answers = clinic(Observation=lambda request: (asked.append(request), fhir(searchset()))[1])
    last = pull(answers, cursor)[-1]
    assert "_lastUpdated" not in asked[0].url.params
    assert last.listed == {"Patient/erika"}
    assert json.loads(last.cursor or "")["since"] == "2026-03-14T03:40:00Z"


def test_a_large_page_is_divided_and_the_cursor_comes_last() -> None:
    page = searchset(*(observation(f"o{number}") for number in range(450)))
    batches = pull(clinic(Observation=fhir(page, Date=DATE)))
    assert [(len(batch.items), batch.cursor is not None) for batch in batches] == [
        (200, False),
        (200, False),
        (51, True),
    ]
