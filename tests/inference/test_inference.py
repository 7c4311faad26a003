"""Hidden data changes no answer: whatever is asked, by whichever route, of a record of which whatever is hidden.

Two records lie under one Consent, one with everything, one in which what the Consent hides never was. Whatever is
drawn is asked of both, and every page, file and status that an answer leads to; the answers are one. How many are
tried: AGGREGATOR_INFERENCE (`make inference`), without it few.
"""

from __future__ import annotations

import hashlib
import os
from base64 import b32encode
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aggregator.api.fhir.table import TABLE
from aggregator.consent.decide import Permit
from aggregator.vault import view as views
from aggregator.vault.fold import State
from aggregator.vault.image import Record, build
from aggregator.vault.index_rows import Indexer
from aggregator.vault.mask import bare
from aggregator.vault.truth import Truth
from aggregator.vault.view import Reader
from fhir_profiles.text import Resource, dumps, loads
from tests.inference import requests, twins
from tests.inference.asking import Routes, conversation
from tests.inference.drawer import Drawer
from tests.inference.record import UPDATED, Ids, Thing, things
from tests.inference.requests import CHOSEN, ROUTES
from tests.vault.world import World, copy
from tests.weaken import weakens

EXAMPLES = int(os.environ.get("AGGREGATOR_INFERENCE", "200"))
ASKED = 8

_phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if "AGGREGATOR_SHRINK" in os.environ else [])]
_settings = settings(
    max_examples=EXAMPLES, phases=_phases, report_multiple_bugs=False, suppress_health_check=list(HealthCheck)
)


@cache
def _local(name: str) -> str:
    return b32encode(hashlib.sha256(name.encode()).digest()).decode().lower()[:26]


IDS = Ids(vault=_local("vault"), patient=_local(twins.OWN), local=_local)


@pytest.fixture(scope="module")
def world(template: tuple[Path, object], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """For its store and keys alone: exports are noted in the one, page links sealed with the other."""
    folder, signed_up = template
    made = copy(folder, signed_up.owner, tmp_path_factory.mktemp("inference"))  # type: ignore[attr-defined]
    yield made
    made.close()


def test_every_route_has_its_entry() -> None:
    assert {(one.method, one.path) for one in TABLE} == ROUTES.keys()


def _patient() -> Thing:
    body: Resource = twins.STRANGER | {"id": f"{IDS.vault}.{IDS.patient}", "name": [{"family": "Muster"}]}
    body |= {"meta": {"versionId": "1", "lastUpdated": UPDATED}, "birthDate": "1957-08-13"}
    practice = [{"reference": IDS.whole("Organization/0")}]
    return Thing(name=twins.OWN, local=IDS.patient, versions=(body | {"generalPractitioner": practice},))


@st.composite
def records(draw: st.DrawFn) -> tuple[list[Thing], list[Resource]]:
    """A record and the Consents that it lies under."""
    return [_patient(), *draw(things(IDS))], draw(twins.signed(IDS))


@pytest.mark.attack(14, 15, 19)
@weakens("aggregator.consent.decide.Decider", "decide", lambda *_: Permit(()), about=(19,))
@weakens("aggregator.vault.fold", "_remove", lambda *_: None, about=(14,))
@weakens("aggregator.vault.view", "_refer", lambda _, kept, directory: kept.update(directory), about=(15,))
@weakens("aggregator.vault.view", "_is_part", lambda *_: True, about=(15,))
@_settings
@given(records())
def test_a_view_holds_what_the_consents_show_and_nothing_else(drawn: tuple[list[Thing], list[Resource]]) -> None:
    found, signed = drawn
    made = twins.twins(IDS, found, signed)
    for envelopes in (made.whole, made.never):
        view = twins.view(IDS, envelopes, signed)
        records = view.image.fetch(range(1, view.image.count() + 1))
        assert {f"{one.resource_type}/{IDS.vault}.{one.local}" for one in records} == made.names
        view.close()


_as_it_is = views._permitted


def _bare_too(vault: str, state: State, reader: Reader) -> Iterator[Record]:
    """A weakened build: what is hidden has a row, though an empty one."""
    shown = [*_as_it_is(vault, state, reader)]
    yield from shown
    known = {(one.resource_type, one.local) for one in shown}
    for section, put in state.current():
        if (put.resource_type, put.local) not in known:
            yield views._record(section, put, dumps(bare(loads(put.resource))))


def _with_tombstones(found: Truth, reader: Reader, indexer: Indexer, _: object) -> bytes:
    """A weakened build: a grantee's view knows what was deleted."""
    return build(views._permitted(found.vault.id, found.state, reader), indexer, views._tombstones(found.state))


@pytest.mark.attack(12, 13, 14, 15, 16, 19, 32)
@weakens("aggregator.consent.decide.Decider", "decide", lambda *_: Permit(()), about=(12, 16, 19))
@weakens("aggregator.vault.view", "_permitted", _bare_too, about=(13, 32))
@weakens("aggregator.vault.view", "_data", _with_tombstones, about=(14,))
@weakens("aggregator.vault.view", "_masked", lambda body, _: body, about=(15,))
@weakens("aggregator.vault.mask", "_without_narrative", lambda node: node, about=(15,))
@_settings
@given(st.data())
def test_hidden_data_changes_no_answer(world: World, data: st.DataObject) -> None:
    found, signed = data.draw(records())
    made = twins.twins(IDS, found, signed)
    whole, never = (Routes(world, twins.view(IDS, one, signed)) for one in (made.whole, made.never))
    try:
        drawer = Drawer(data.draw, IDS, found)
        for _ in range(ASKED):
            asked = requests.request(drawer, *data.draw(st.sampled_from(CHOSEN)))
            assert conversation(whole, asked) == conversation(never, asked), asked
    finally:
        whole.close()
        never.close()
