"""What would a doctor see? The owner asks over HTTP, before anything is signed, and the doctor then sees just that."""

from __future__ import annotations

from tests.api.http_world import HttpWorld, classes, consent


def _ask(world: HttpWorld, status: int = 200, login: str = "erika", **asked: object) -> dict[str, object]:
    answer = world.http.post("/app/dry-run", json=asked, headers=world.owner(login))
    assert answer.status_code == status, answer.text
    made: dict[str, object] = answer.json()
    return made


def _references(items: object) -> set[str]:
    assert isinstance(items, list)
    return {one["reference"] for one in items}


def test_the_doctor_then_sees_what_the_dry_run_said(fresh: HttpWorld) -> None:
    proposed = consent(fresh.patients["erika"], "fremd", **{"class": classes("results", "problems")})
    told = _ask(fresh, party="fremd", consent=proposed)
    assert (told["now"]["seen"], told["lost"]) == (0, [])  # type: ignore[index]
    fresh.consent("fremd", **{"class": classes("results", "problems")})
    seen = {f"{one['resourceType']}/{one['id']}" for one in fresh.everything(fresh.token("fremd"))}
    assert _references(told["gained"]) == seen - {f"Patient/{fresh.patients['erika']}"}
    again = _ask(fresh, party="fremd")
    assert (again["then"], again["now"]["items"]) == (None, told["then"]["items"])  # type: ignore[index]


def test_it_says_in_words_how_much_stays_hidden_and_why(shared: HttpWorld) -> None:
    told = _ask(shared, party="labor")
    sections = {one["section"]: (one["seen"], one["withheld"]) for one in told["now"]["sections"]}  # type: ignore[index]
    assert sections["results"] == (3, 0)
    assert sections["problems"][0] == 0
    reasons = {one["reason"]: one["in_words"]["en"] for one in told["now"]["reasons"]}  # type: ignore[index]
    assert reasons["not-opened"] == "the consent does not cover this"


def test_it_is_receipted_as_the_owners_own_access(fresh: HttpWorld) -> None:
    _ask(fresh, party="labor")
    events = fresh.get("/fhir/AuditEvent?_count=200", fresh.owner()).json()["entry"]
    details = [
        one["resource"]["entity"][0]["detail"] for one in events if one["resource"]["agent"][0]["name"] == "owner"
    ]
    assert {"type": "query", "valueString": "dry run for labor"} in [one for detail in details for one in detail]


def test_what_cannot_be_asked_is_refused(shared: HttpWorld) -> None:
    _ask(shared, 400, party="nobody")
    _ask(shared, 400, party="labor", purpose="WHIM")
    _ask(shared, 422, party="labor", consent={"resourceType": "Observation"})
    answer = shared.http.post("/app/dry-run", json={"party": "labor"}, headers=shared.token("praxis"))
    assert answer.status_code == 403
    assert shared.http.post("/app/dry-run", json={"party": "labor"}).status_code == 401
