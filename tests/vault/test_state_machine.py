"""Everything that patients, sources, operators and failing machines do, in any order, against dictionaries.

CI runs a bounded number of examples; `make machine` runs AGGREGATOR_MACHINE of them, and with AGGREGATOR_SHRINK=1 looks
for the shortest way to a failure. That the machine would notice is shown by one short way against weakened builds.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlmodel import select

from aggregator.errors import Refused, RolledBack, Stale
from aggregator.identity.accounts import SignedUp
from aggregator.vault import tables
from aggregator.vault.keys import SectionSeed
from tests import databases
from tests.identity.test_rotation import opened_by
from tests.vault.installation import CODES, NUMBERS, PARTIES, SECTIONS, Died, Installation, dying_at
from tests.vault.record_model import EVERYBODY, Model, Signed
from tests.vault.world import PASSWORD
from tests.weaken import weakens

T = TypeVar("T")
EXAMPLES = int(os.environ.get("AGGREGATOR_MACHINE", "8"))
STEPS = 30
PHASES = [
    Phase.explicit,
    Phase.reuse,
    Phase.generate,
    *([Phase.shrink] if "AGGREGATOR_SHRINK" in os.environ else []),
]
"""To make a failing example smaller takes minutes: that is for those who look into it."""


@dataclass
class Remembered:
    """What a party whose access ended has kept, and which envelopes it may open: those that it could already."""

    party: str
    seeds: dict[str, SectionSeed]
    known: set[bytes] | None = None


CRASH = st.one_of(st.none(), st.none(), st.integers(1, 12))
WHICH = st.integers(0, 5)
PARTY = st.sampled_from(sorted(PARTIES))
SOME_PARTIES = st.frozensets(PARTY, min_size=1)
SOME_SECTIONS = st.frozensets(st.sampled_from(SECTIONS), min_size=1)
WORDS = [PASSWORD, "Ein anderes langes Wort", "Noch ein drittes, langes"]


class Machine(RuleBasedStateMachine):
    """Steps are rules; what must hold after each of them is an invariant."""

    def __init__(self, template: tuple[Path, SignedUp]) -> None:
        super().__init__()
        self.undo = ExitStack()
        folder = Path(self.undo.enter_context(tempfile.TemporaryDirectory()))
        self.undo.enter_context(databases.own_databases())
        self.home = Installation(folder, template)
        self.undo.callback(lambda: self.home.stop())
        self.model = Model()
        self.password = PASSWORD
        self.backups: list[tuple[Path, Model, str]] = []
        self.heads: list[dict[str, Any]] = []
        self.dead: dict[str, tuple[str, tables.Grant]] = {}
        self.living: dict[str, tuple[str, tables.Grant]] = {}
        self.holding: dict[str, dict[str, SectionSeed]] = {}
        self.remembered: list[Remembered] = []
        self.written: set[bytes] = set()

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:  # else the step that failed is what there is to tell
                self._nothing_new_opens()
        finally:
            self.undo.close()

    # --- what happens

    @precondition(lambda self: not self.model.connected)
    @rule(crash=CRASH)
    def connect(self, crash: int | None) -> None:
        after = deepcopy(self.model)
        after.connected = True
        self._do(self.home.connect, crash, after)

    @precondition(lambda self: self.model.connected)
    @rule(crash=CRASH)
    def disconnect(self, crash: int | None) -> None:
        after = deepcopy(self.model)
        after.connected = False
        self._do(self.home.disconnect, crash, after)

    @rule(name=st.sampled_from("abc"), value=st.sampled_from([*NUMBERS, None]))
    def a_result_changes_at_the_source(self, name: str, value: str | None) -> None:
        self.home.source.log.append((f"Observation/{name}", value))

    @rule(name=st.sampled_from("xy"), value=st.sampled_from([*CODES, None]))
    def a_diagnosis_changes_at_the_source(self, name: str, value: str | None) -> None:
        """Another code may lie in another section."""
        self.home.source.log.append((f"Condition/{name}", value))

    @precondition(lambda self: self.model.connected)
    @rule(crash=CRASH)
    def sync(self, crash: int | None) -> None:
        """Two changes a batch: a crash may come between two batches."""
        changes, states = self.home.source.log, [self.model]
        while states[-1].cursor < len(changes):
            after = deepcopy(states[-1])
            for thing, value in changes[after.cursor : after.cursor + 2]:
                section = (NUMBERS | CODES)[value] if value else ""
                after.put(self.home.local(thing), section, value)
            after.cursor = min(after.cursor + 2, len(changes))
            states.append(after)
        self._do(self._sync, crash, *states[1:] or [self.model])

    def _sync(self) -> None:
        assert self.home.sync() == "fresh"

    @rule(name=st.sampled_from("mn"), value=st.sampled_from([*NUMBERS, None]), crash=CRASH)
    def the_owner_writes(self, name: str, value: str | None, crash: int | None) -> None:
        local = self.home.local(name, "owner")
        before = self.model.record.get(local)
        if value is None and (before is None or before[1][-1][1] is None):
            return
        versions = before[1] if before else ()
        number = versions[-1][0] + 1 if versions else 1
        after = deepcopy(self.model)
        after.record[local] = "results", (*versions, (number, value))
        self._do(lambda: self.home.write(name, number, value), crash, after)

    @rule(parties=SOME_PARTIES, sections=SOME_SECTIONS, crash=CRASH)
    def a_consent_is_signed(self, parties: frozenset[str], sections: frozenset[str], crash: int | None) -> None:
        self._sign(None, Signed(parties, sections, True), crash)

    @precondition(lambda self: self.model.consents)
    @rule(which=WHICH, parties=SOME_PARTIES, sections=SOME_SECTIONS, active=st.booleans(), crash=CRASH)
    def a_consent_is_changed(
        self, which: int, parties: frozenset[str], sections: frozenset[str], active: bool, crash: int | None
    ) -> None:
        name = _chosen(list(self.model.consents), which)
        self._sign(name, Signed(parties, sections, active, self.model.consents[name].number + 1), crash)

    def _sign(self, name: str | None, signed: Signed, crash: int | None) -> None:
        """The id of a new one is drawn while it is signed: after a crash it is looked for."""
        made: list[str] = []

        def sign() -> None:
            made.append(self.home.sign(name, signed.parties, signed.sections, signed.active))

        def after() -> Model:
            known = deepcopy(self.model)
            new = set(self.home.seen().consents) - set(self.model.consents)
            if name or new:
                known.sign(name or new.pop(), signed)
            return known

        self._do(sign, crash, after)

    @rule(party=PARTY, lately=st.booleans(), crash=CRASH)
    def a_grant_ends(self, party: str, lately: bool, crash: int | None) -> None:
        after = deepcopy(self.model)
        after.end(party)
        settled = deepcopy(after)
        if lately and party in self._with_keys():
            settled.compile()
        self._do(lambda: self.home.end(party, lately), crash, after, settled)

    @rule(party=PARTY, crash=CRASH)
    def the_operator_stops_a_grant(self, party: str, crash: int | None) -> None:
        """In an emergency, and without the owner."""
        after = deepcopy(self.model)
        after.end(party)
        self._do(lambda: self.home.stop_grant(party), crash, after)

    @rule(crash=CRASH)
    def an_owner_session_begins(self, crash: int | None) -> None:
        due = self.home.world.ring.rotation_due(self.home.vault) >= self.home.world.epoch
        ended = EVERYBODY if self.model.lost else self.model.ended
        after = deepcopy(self.model)
        if due or self._with_keys() & ended:
            after.compile()
        if not self._do(self.home.session, crash, after):
            assert self.home.world.ring.rotation_due(self.home.vault) < self.home.world.epoch

    @rule()
    def the_owner_looks(self) -> None:
        """The log is folded into a snapshot."""
        assert self.home.shown_to_owner() == self.model.current()

    @rule()
    def several_open_at_once(self) -> None:
        with ThreadPoolExecutor(3) as openers:
            views = [openers.submit(self._look) for _ in range(2)]
            others = [openers.submit(self._shown_to, party) for party in list(self.model.granted)[:1]]
            assert [one.result() for one in views] == [self.model.current()] * 2
            for one in others:
                one.result()

    def _look(self) -> dict[str, tuple[str, str]]:
        """Who reads from a snapshot that another opener has just replaced opens again."""
        for _ in range(3):
            try:
                return self.home.shown_to_owner()
            except Stale:
                continue
        raise AssertionError("a view that is Stale again and again")

    @precondition(lambda self: self.home.password_number < 2)
    @rule(crash=CRASH)
    def the_password_changes(self, crash: int | None) -> None:
        self.home.password_number += 1
        old, new = self.password, WORDS[self.home.password_number]
        died = self._do(lambda: self.home.change_password(new), crash, self.model)
        opens = [word for word in WORDS if self.home.signs_in(word)]
        assert opens == [new] or (died and opens == [old])
        (self.password,) = opens

    @rule()
    def the_master_key_changes(self) -> None:
        self.home.world.ring.rotate_master()

    @rule()
    def the_process_ends(self) -> None:
        self.home.restart()

    @precondition(lambda self: len(self.backups) < 3)
    @rule()
    def a_backup_is_made(self) -> None:
        self.backups.append((self.home.back_up(len(self.backups)), deepcopy(self.model), self.password))

    @precondition(lambda self: self.backups)
    @rule(which=WHICH, crash=CRASH)
    def a_backup_is_restored(self, which: int, crash: int | None) -> None:
        """Record and password fall back; what was destroyed since stays so."""
        folder, then, password = _chosen(self.backups, which)
        after = deepcopy(then)
        if after.version != self.model.version:
            after.granted, after.lost = {}, True
            after.version = self.model.version + 1
        if self._dies(lambda: self.home.restore(folder), crash):
            if self.home.restored:
                self.home.start()
            else:
                self.home.restore(folder)
        self._lose(after)
        self.model, self.heads = after, []
        for one in self.remembered:  # what is written before the next owner session lies under old keys again
            one.known = None
        if password != self.password:
            self.password = password
            assert self.home.signs_in(password)

    @precondition(lambda self: self.heads)
    @rule(which=WHICH)
    def somebody_puts_the_heads_row_back(self, which: int) -> None:
        old = _chosen(self.heads, which)
        if old == self.home.head():
            return
        with self.home.put_back(old):
            for act in (self.home.seen, self.home.shown_to_owner, lambda: self.home.write("m", 9, "7")):
                with pytest.raises(RolledBack):
                    act()

    # --- what must hold

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        assert self.home.seen() == self.model.seen()
        assert self.home.receipts_hold()

    @invariant()
    def each_grantee_sees_what_was_permitted_and_nobody_else_anything(self) -> None:
        rows = self._grants()
        for one, held in self.living.items():
            if one not in rows:
                self.dead[one] = held
        self.living = rows
        for one in rows:
            self.dead.pop(one, None)
        for party in self.model.granted:
            self._shown_to(party)
        for party, row in list(self.dead.values())[-3:]:
            with pytest.raises(Refused):
                self.home.opened(party, row)

    @invariant()
    def heads_are_remembered(self) -> None:
        self.heads = [*self.heads, self.home.head()][-6:]
        self.written |= self.home.envelopes()
        if self.home.world.ring.rotation_due(self.home.vault) < self.home.world.epoch:
            for one in self.remembered:
                one.known = set(self.written) if one.known is None else one.known

    def _grants(self) -> dict[str, tuple[str, tables.Grant]]:
        handles = {self.home.world.ring.handle("party", who.id): name for name, who in PARTIES.items()}
        return {row.id: (handles[row.grantee], row) for row in self.home.grants()}

    def _with_keys(self) -> frozenset[str]:
        """Who has a key in the ring: whoever has a grant, and whose new grant died with the process that signed it."""
        held = self.home.world.ring.grants(self.home.vault).values()
        return frozenset(name for name, who in PARTIES.items() if self.home.world.ring.handle("party", who.id) in held)

    def _shown_to(self, party: str) -> None:
        (row,) = [row for name, row in self._grants().values() if name == party]
        opened = self.home.opened(party, row)
        permitted = self.model.granted[party]
        assert opened.seeds.keys() == permitted
        expected = {local: told for local, told in self.model.current().items() if told[0] in permitted}
        assert self.home.shown_to(party, opened) == expected
        self.holding[party] = dict(opened.seeds)
        self.remembered = [one for one in self.remembered if one.party != party]

    def _nothing_new_opens(self) -> None:
        """Of what was written after the keys changed, nothing opens with what an ended grantee has kept."""
        for one in self.remembered:
            if one.known is None:
                continue
            with self.home.world.store.read() as session:
                log = {row.position: row.envelope for row in session.exec(select(tables.LogEntry))}
            for told in opened_by(self.home.world, one.seeds):
                kind, _, position = told.partition(" ")
                assert kind == "snapshot" or log[int(position)] in one.known, (one.party, told)

    # --- how

    def _do(self, act: Callable[[], Any], crash: int | None, *after: Model | Callable[[], Model]) -> bool:
        """after: what may be there if the process dies on the way, and at last what must be. Did it die?"""
        died = self._dies(act, crash)
        if died:
            self.home.restart()
        states = [one() if callable(one) else one for one in after]
        if died:
            seen = self.home.seen()
            states = [one for one in (self.model, *states) if one.seen() == seen]
            assert states, ("half of it", seen)
        self._lose(states[-1])
        self.model = states[-1]
        return died

    def _dies(self, act: Callable[[], Any], crash: int | None) -> bool:
        try:
            with dying_at(crash):
                act()
        except Died:
            return True
        return False

    def _lose(self, after: Model) -> None:
        """Whoever may open less than before keeps what they have seen."""
        for party, seeds in list(self.holding.items()):
            gone = self.model.granted.get(party, frozenset()) - after.granted.get(party, frozenset())
            if gone:
                kept = {name: seed for name, seed in seeds.items() if name in gone}
                self.remembered.append(Remembered(party, kept))
                del self.holding[party]


def _chosen(some: Sequence[T], which: int) -> T:
    return some[which % len(some)]


def run(template: tuple[Path, SignedUp], examples: int, phases: Iterable[Phase]) -> None:
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        phases=tuple(phases),
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(lambda: Machine(template), settings=chosen)  # type: ignore[arg-type]  # it makes them, a class or not


@pytest.mark.attack(52)
@pytest.mark.timeout(0)
def test_anything_in_any_order_is_as_in_the_model(template: tuple[Path, SignedUp]) -> None:
    run(template, EXAMPLES, PHASES)


@pytest.mark.attack(52)
@weakens("aggregator.vault.fold", "_remove", lambda *_: None)
@weakens("aggregator.vault.epochs", "rotate", lambda *_: None)
@weakens("aggregator.vault.ledger.Ledger", "tag", lambda *_: os.urandom(8))
@weakens("aggregator.identity.grants.Grants", "destroy", lambda *_: None)
@weakens("aggregator.vault.key_ring.KeyRing", "grants", lambda *_: {})
@weakens("aggregator.identity.unlockers", "restore", lambda *_: None)
def test_the_machine_notices(template: tuple[Path, SignedUp]) -> None:
    machine = Machine(template)
    try:
        for step in _A_SHORT_WAY:
            step(machine)
            machine.everything_is_as_the_model_says()
            machine.each_grantee_sees_what_was_permitted_and_nobody_else_anything()
            machine.heads_are_remembered()
    finally:
        machine.teardown()


_B = frozenset({"b"})
_A_SHORT_WAY: list[Callable[[Machine], None]] = [
    lambda machine: machine.a_backup_is_made(),
    lambda machine: machine.connect(None),
    lambda machine: machine.a_result_changes_at_the_source("a", "7"),
    lambda machine: machine.a_diagnosis_changes_at_the_source("x", "E11.9"),
    lambda machine: machine.a_consent_is_signed(_B, frozenset({"results"}), None),
    lambda machine: machine.sync(None),
    lambda machine: machine.a_result_changes_at_the_source("a", "7"),
    lambda machine: machine.a_diagnosis_changes_at_the_source("x", "F32.1"),
    lambda machine: machine.sync(2),
    lambda machine: machine.sync(None),
    lambda machine: machine.somebody_puts_the_heads_row_back(1),
    lambda machine: machine.a_grant_ends("b", False, 5),
    lambda machine: machine.an_owner_session_begins(None),
    lambda machine: machine.a_result_changes_at_the_source("b", "9"),
    lambda machine: machine.sync(None),
    lambda machine: machine.the_owner_looks(),
    lambda machine: machine.a_consent_is_signed(_B, frozenset({"results"}), None),
    lambda machine: machine.the_password_changes(None),
    lambda machine: machine.a_backup_is_restored(0, None),
]
