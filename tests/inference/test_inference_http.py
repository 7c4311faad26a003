"""Hidden data changes no answer, asked of two servers with stores, keys, grants and receipts of their own.

As test_inference.py, with fewer examples: each is a patient of both. How many: a fiftieth of AGGREGATOR_INFERENCE.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aggregator.vault import log, tables
from aggregator.vault.envelope import seal
from aggregator.vault.keys import Writer
from fhir_profiles.text import Resource
from tests.api.http_world import HttpWorld, consent, http_world
from tests.inference import requests, twins
from tests.inference.asking import conversation, over_http
from tests.inference.drawer import Drawer
from tests.inference.record import Ids, things
from tests.inference.requests import CHOSEN
from tests.inference.twins import Envelopes

PATIENTS = [f"patient-{number}" for number in range(int(os.environ.get("AGGREGATOR_INFERENCE", "300")) // 50)]
ASKED = 12

Worlds = tuple[HttpWorld, HttpWorld]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    """Two installations that are copies of one, with the same patients."""
    with http_world(tmp_path_factory.mktemp("both")) as both:
        for name in PATIENTS:
            both.sign_up(name, "Muster", "1957-08-13")
    one, other = (tmp_path_factory.mktemp(name) for name in ("whole", "never"))
    with http_world(one, both) as whole, http_world(other, both) as never:
        yield whole, never


def _ids(world: HttpWorld, login: str) -> Ids:
    vault, _, patient = world.patients[login].partition(".")
    names = world.service.accounts.owner(world.owners[login]).root.ids()
    return Ids(vault=vault, patient=patient, local=lambda name: names.local("klinik", login, name))


def _write(world: HttpWorld, login: str, envelopes: Envelopes) -> None:
    """Into the vault's log, as its owner."""
    owner = world.service.accounts.owner(world.owners[login])
    with world.service.store.write(owner.vault) as session:
        row = session.get_one(tables.Vault, owner.vault)
        for section, operations in envelopes:
            key, number = owner.key(section, row.epoch), row.log_position + 1
            log.append(session, row, [seal(owner.vault, key, Writer.owner(owner.root), number, operations)])


def _sign(world: HttpWorld, login: str, signed: list[Resource]) -> None:
    for one in signed:
        whole = consent(world.patients[login], twins.PRACTICE.id) | {"provision": one["provision"]}
        answer = world.http.post("/fhir/Consent", json=whole, headers=world.owner(login))
        assert answer.status_code == 201, answer.text


@pytest.mark.attack(12, 13, 14, 15, 16, 19, 32)
@settings(max_examples=len(PATIENTS), phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_hidden_data_changes_no_answer_of_a_server(worlds: Worlds, data: st.DataObject) -> None:
    if not (login := next((name for name in PATIENTS if name not in _ASKED), "")):
        return
    _ASKED.add(login)
    ids = _ids(worlds[0], login)
    found, signed = data.draw(things(ids)), data.draw(twins.signed(ids))
    made = twins.twins(ids, found, signed)
    for world, envelopes in zip(worlds, (made.whole, made.never), strict=True):
        _write(world, login, envelopes)
        _sign(world, login, signed)
    whole, never = (over_http(world.http, world.token(twins.PRACTICE.id)) for world in worlds)
    drawer = Drawer(data.draw, ids, found)
    for _ in range(ASKED):
        asked = requests.request(drawer, *data.draw(st.sampled_from(CHOSEN)))
        assert conversation(whole, asked) == conversation(never, asked), asked


_ASKED = set[str]()
"""The patients whose turn was."""
