"""What people try with links that are not theirs, or lead nowhere any more, and with the database behind them."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.exceptions import InvalidTag
from sqlmodel import select, update
from starlette.responses import Response

from aggregator.audit.receipts import SYSTEM
from aggregator.sharing.door import Asked, Closed, Door, Opened
from aggregator.sharing.shares import ATTEMPTS, Shares
from aggregator.sharing.tables import Share, ShareTicket
from aggregator.vault.seal import header
from aggregator.vault.tables import Vault
from tests import databases
from tests.api.http_world import HttpWorld
from tests.api.receiver import (
    PRACTICE,
    RIGHT,
    WRONG,
    is_closed,
    receipts,
    receive,
    share,
    shared_link,
    unbase64,
)
from tests.api.second_server import second_server
from tests.weaken import weakens

DOOR, ROWS = "aggregator.sharing.door.Door", "aggregator.sharing.rows"


def rows(world: HttpWorld) -> list[Share]:
    with world.service.store.read() as session:
        return list(session.exec(select(Share)).all())


def change(world: HttpWorld, **values: Any) -> None:
    """As somebody does who can write the database: in every row."""
    with world.service.store.write() as session:
        session.exec(update(Share).values(**values))


def put_back(world: HttpWorld, before: Share) -> None:
    """A row as it was."""
    with world.service.store.write() as session:
        session.merge(Share(**before.model_dump()))


def told(answer: httpx.Response) -> tuple[int, bytes, list[str]]:
    """All that an answer tells: status, body, and which headers there are."""
    return answer.status_code, answer.content, sorted(answer.headers)


@pytest.mark.attack(5)
@weakens("aggregator.sharing.shares", "KEY_BYTES", 8)
def test_a_name_has_256_bits_and_so_has_the_key(fresh: HttpWorld) -> None:
    links = [shared_link(fresh) for _ in range(3)]
    names = {link.path().rpartition("/")[2] for link in links}
    assert [len(unbase64(name)) for name in names] == [32, 32, 32]
    assert {len(unbase64(link.payload["key"])) for link in links} == {32}


@pytest.mark.attack(5, 7)
@weakens("aggregator.api.shl_routes", "_nowhere", lambda: Response(status_code=410), about=(5, 7))
def test_whatever_became_of_a_link_the_answer_is_that_of_one_that_never_was(fresh: HttpWorld) -> None:
    used, ended, locked, expired = (
        shared_link(fresh, once=True),
        share(fresh),
        shared_link(fresh, passcode=RIGHT),
        shared_link(fresh, hours=1, label="Psychiatrie"),
    )
    used.open()
    fresh.http.delete(f"/app/links/{ended['id']}", headers=fresh.owner())
    for _ in range(ATTEMPTS):
        locked.ask(passcode=WRONG)
    fresh.clock.advance(hours=1)
    never = fresh.http.post("/shl/" + "x" * 43, json={"recipient": PRACTICE})
    assert never.status_code == 404
    answers = [used.ask(), receive(fresh, ended).ask(), locked.ask(passcode=RIGHT), expired.ask()]
    answers.append(fresh.http.get("/shl/file/" + "x" * 43))
    answers.append(fresh.http.get(expired.path(), params={"recipient": PRACTICE}))
    assert [told(one) for one in answers] == [told(never)] * len(answers)
    assert b"Muster" not in never.content


@pytest.mark.attack(5)
def test_what_cannot_be_a_name_is_answered_alike_and_fills_no_chain(fresh: HttpWorld) -> None:
    with fresh.service.store.read() as session:
        before = session.get_one(Vault, SYSTEM).audit_position
    answers = [
        fresh.http.post(f"/shl/{name}", json={"recipient": "x"}) for name in ("a", "x" * 43, "x" * 44, "%2e" * 43)
    ]
    assert [told(one) for one in answers] == [told(answers[0])] * 4
    with fresh.service.store.read() as session:
        assert session.get_one(Vault, SYSTEM).audit_position == before + 1


@pytest.mark.attack(7)
@weakens(DOOR, "_refuse", lambda *_: Closed(""))
def test_who_comes_too_late_is_told_to_the_patient(fresh: HttpWorld) -> None:
    link = shared_link(fresh, once=True)
    link.open()
    before = len(receipts(fresh))
    link.ask()
    reasons = [
        detail["valueString"]
        for one in fresh.get("/fhir/AuditEvent?_count=100", fresh.owner()).json()["entry"][before:]
        for detail in one["resource"]["entity"][0]["detail"]
        if detail["type"] == "reason"
    ]
    assert reasons == ["the link was used"]


@pytest.mark.attack(6)
@weakens(DOOR, "_count", lambda *_: 5)
def test_passcodes_that_come_at_the_same_time_are_all_counted(fresh: HttpWorld) -> None:
    link = shared_link(fresh, passcode=RIGHT)
    with ThreadPoolExecutor(12) as many:
        answers = list(many.map(lambda n: link.ask(passcode=f"{WRONG}{n}"), range(24)))
    remaining = sorted(one.json()["remainingAttempts"] for one in answers if one.status_code == 401)
    assert remaining == [0, 1, 2, 3, 4]
    assert is_closed(link.ask(passcode=RIGHT))


@pytest.mark.attack(6)
@weakens(DOOR, "_count", lambda *_: 5)
def test_another_server_and_a_restart_count_on(fresh: HttpWorld, tmp_path: Path) -> None:
    made = share(fresh, passcode=RIGHT)
    with second_server(fresh.service.config, tmp_path) as other:
        here, there = receive(fresh, made), receive(fresh, made, other)
        left = [one.ask(passcode=WRONG).json().get("remainingAttempts") for one in (here, there, here, there)]
    assert left == [4, 3, 2, 1]
    with second_server(fresh.service.config, tmp_path) as again:
        assert receive(fresh, made, again).ask(passcode=WRONG).json() == {"remainingAttempts": 0}
        assert is_closed(receive(fresh, made, again).ask(passcode=RIGHT))
    assert is_closed(here.ask(passcode=RIGHT))


@pytest.mark.attack(6, 24)
@weakens("aggregator.sharing.shares.Shares", "spend", lambda *_: None, about=(6, 24))
def test_who_sets_the_tries_back_in_the_database_opens_no_locked_link(fresh: HttpWorld) -> None:
    link = shared_link(fresh, passcode=RIGHT)
    (before,) = rows(fresh)
    for _ in range(ATTEMPTS):
        link.ask(passcode=WRONG)
    put_back(fresh, before)
    assert is_closed(link.ask(passcode=RIGHT))


@pytest.mark.attack(24, 25)
@weakens("aggregator.identity.grants.Grants", "destroy", lambda *_: None, about=(24, 25))
def test_an_ended_link_stays_ended_where_its_row_comes_back(fresh: HttpWorld) -> None:
    made = share(fresh)
    (before,) = rows(fresh)
    fresh.http.delete(f"/app/links/{made['id']}", headers=fresh.owner())
    put_back(fresh, before)
    assert is_closed(receive(fresh, made).ask())


@pytest.mark.attack(24)
@weakens("aggregator.sharing.shares.Shares", "spend", lambda *_: None)
def test_a_used_link_stays_used_where_its_row_comes_back(fresh: HttpWorld) -> None:
    link = shared_link(fresh, once=True)
    (before,) = rows(fresh)
    link.open()
    put_back(fresh, before)
    assert is_closed(link.ask())


@pytest.mark.attack(5)
@weakens("aggregator.sharing.door", "_open", lambda *_: True)
def test_two_who_come_at_once_to_a_link_for_one_are_one(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    link = shared_link(fresh, once=True)
    look, both = Door._shut, threading.Barrier(2)

    def look_together(self: Door, *found: Any, **how: Any) -> str:
        reason = look(self, *found, **how)
        both.wait(10)
        return reason

    monkeypatch.setattr(Door, "_shut", look_together)
    monkeypatch.setattr(Shares, "spend", lambda *_: None)  # or the second would find no key
    with ThreadPoolExecutor(2) as two:
        answers = list(two.map(lambda _: link.ask(), range(2)))
    assert sorted(one.status_code for one in answers) == [200, 404]


@pytest.mark.attack(2)
@weakens(ROWS, "of_vault", lambda session, _: session.exec(select(Share)).all())
def test_another_account_neither_sees_nor_ends_a_link(fresh: HttpWorld) -> None:
    made = share(fresh)
    answer = fresh.http.delete(f"/app/links/{made['id']}", headers=fresh.owner("berta"))
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["code"] == "invalid"
    assert fresh.get("/app/links", fresh.owner("berta")).json() == {"links": []}
    assert receive(fresh, made).ask().status_code == 200


@pytest.mark.attack(2)
def test_a_link_opens_with_nobodys_token_and_no_token_opens_a_link(fresh: HttpWorld) -> None:
    made = share(fresh)
    for who in (fresh.owner(), fresh.owner("berta"), fresh.token("praxis")):
        assert is_closed(fresh.http.post(f"/shl/{made['id']}", json={"recipient": PRACTICE}, headers=who))
    assert fresh.get(receive(fresh, made).path(), {}).status_code == 400  # it does not say who asks


# Who has the database.


@pytest.mark.attack(20, 44)
@weakens(ROWS, "handle", lambda name: name.encode(), about=(20, 44))
def test_neither_link_nor_label_nor_passcode_lies_in_the_store(
    fresh: HttpWorld, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        link = shared_link(fresh, label="Rechnungen für Onkel Alfred", passcode=RIGHT, live=True)
        link.ask(passcode=WRONG)
        link.open(passcode=RIGHT)
    stored = databases.stored_bytes(fresh.service.store)
    name, key = link.path().rpartition("/")[2], link.payload["key"]
    for secret in (name, key, RIGHT, WRONG, "Onkel Alfred", PRACTICE):
        assert secret.encode() not in stored
    assert unbase64(key) not in stored
    ours = [one.getMessage() for one in caplog.records if one.name.startswith("aggregator")]
    assert not any(secret in line for secret in (name, key, RIGHT) for line in ours)


@pytest.mark.attack(20)
def test_not_even_who_has_the_key_service_too_reads_a_file(fresh: HttpWorld) -> None:
    """What lies in the store is the file encrypted under the link's key, which lies nowhere."""
    link, other = shared_link(fresh), shared_link(fresh)
    found = fresh.service.door.manifest(link.path().rpartition("/")[2], Asked(recipient=PRACTICE))
    assert isinstance(found, Opened)
    assert link.decrypt(found.file.jwe)["type"] == "document"
    with pytest.raises(InvalidTag):
        other.decrypt(found.file.jwe)


@pytest.mark.attack(21)
@weakens(ROWS, "_bound", lambda kind, row: header(kind, row.vault, name=""))
def test_a_gate_without_a_passcode_does_not_stand_before_another_links_file(fresh: HttpWorld) -> None:
    shared_link(fresh)
    (free,) = rows(fresh)
    link = shared_link(fresh, passcode=RIGHT)
    with fresh.service.store.write() as session:
        session.exec(update(Share).where(Share.handle != free.handle).values(gate=free.gate))  # type: ignore[arg-type]
    assert is_closed(link.ask())


@pytest.mark.attack(21, 27)
def test_no_link_lasts_longer_than_its_owner_signed(fresh: HttpWorld) -> None:
    link = shared_link(fresh, hours=1)
    change(fresh, expires=rows(fresh)[0].expires + 86_400)
    fresh.clock.advance(hours=2)
    assert is_closed(link.ask())


@pytest.mark.attack(24)
def test_an_address_that_comes_back_leads_to_no_file_of_a_used_link(fresh: HttpWorld) -> None:
    (file,) = shared_link(fresh, once=True).ask(embeddedLengthMax=0).json()["files"]
    with fresh.service.store.read() as session:
        ticket, before = session.exec(select(ShareTicket)).one(), session.exec(select(Share)).one()
    assert fresh.http.get(file["location"]).status_code == 200
    put_back(fresh, before)
    with fresh.service.store.write() as session:
        session.merge(ShareTicket(**ticket.model_dump()))
    assert is_closed(fresh.http.get(file["location"]))


@pytest.mark.attack(21)
def test_a_damaged_link_is_told_and_can_be_ended(fresh: HttpWorld) -> None:
    made = share(fresh)
    change(fresh, note=b"PRW1")
    (told_,) = fresh.get("/app/links", fresh.owner()).json()["links"]
    assert (told_["id"], told_["state"]) == (made["id"], "damaged")
    assert fresh.http.delete(f"/app/links/{made['id']}", headers=fresh.owner()).status_code == 204
    assert is_closed(receive(fresh, made).ask())


@pytest.mark.attack(31)
def test_without_a_receipt_nothing_leaves(fresh: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    link = shared_link(fresh)
    monkeypatch.setattr("aggregator.audit.receipts.commit", lambda *_: [False])
    answer = link.ask()
    assert answer.status_code == 503
    assert b"embedded" not in answer.content
