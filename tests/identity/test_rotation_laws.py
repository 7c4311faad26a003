"""Whatever patients and sources do, in whatever order: who may read reads all, and who was ended keeps nothing new."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aggregator.consent.decide import Party
from aggregator.identity.accounts import SignedUp
from aggregator.vault.keys import SectionSeed, Writer
from tests.identity.test_rotation import fresh, opened_by, who_may_read
from tests.vault.world import DR_B, LABORATORY, World, consent, copy
from tests.weaken import weakens

PARTIES = {"b": DR_B, "lab": LABORATORY}


@dataclass
class Model:
    """What there is, as a list of names says it; and what each ended grantee remembers."""

    world: World
    writer: Writer
    ids: set[str] = field(default_factory=set)
    reading: set[str] = field(default_factory=set)
    remembered: dict[str, dict[str, SectionSeed]] = field(default_factory=dict)
    written_since: dict[str, int] = field(default_factory=dict)

    def write(self, who: str) -> None:
        name = f"Observation/{len(self.ids)}"
        self.world.append("results", self.world.put(name), writer=self.writer if who == "source" else None)
        self.ids.add(self.world.local(name))

    def permit(self, who: str) -> None:
        self.world.signing.save_consent(fresh(self.world), consent([PARTIES[who]]))
        self.reading.add(who)
        self.remembered.pop(who, None)

    def end(self, who: str, *, lately: bool) -> None:
        if who in self.reading:
            self.remembered[who] = dict(self.world.opened(PARTIES[who]).seeds)
        owner = fresh(self.world)
        if not lately:
            owner = replace(owner, unlocked_at=self.world.clock().replace(year=2000))
        self.world.grants.end(owner, PARTIES[who].id)
        self.reading.discard(who)
        self.world.grants.settle(fresh(self.world))  # the next owner session
        self.written_since[who] = self.head()

    def head(self) -> int:
        return self.world.truth().state.position

    def look(self) -> None:
        assert self.held(None) == self.ids

    def held(self, party: Party | None) -> set[str]:
        made = self.world.open(self.world.grantee(party) if party else None)
        return {local for local in self.ids if made.image.read("Observation", local) is not None}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(["source", "owner"])),
        st.tuples(st.just("permit"), st.sampled_from(sorted(PARTIES))),
        st.tuples(st.just("end"), st.sampled_from(sorted(PARTIES)), st.booleans()),
        st.tuples(st.just("look")),
    ),
    min_size=3,
    max_size=12,
)


@pytest.mark.attack(25, 52)
@weakens("aggregator.vault.epochs", "rotate", lambda *_: None, about=(25, 52))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps)
@example(todo=[("permit", "b"), ("write", "source"), ("end", "b", False), ("write", "owner"), ("write", "source")])
def test_who_may_read_reads_all_and_who_was_ended_opens_nothing_new(
    template: tuple[Path, SignedUp], todo: list[tuple[str | bool, ...]]
) -> None:
    folder, signed_up = template
    with tempfile.TemporaryDirectory() as own:
        world = copy(folder, signed_up.owner, Path(own))
        try:
            model = Model(world, world.connect().writer)
            for name, *more in todo:
                if name == "end":
                    model.end(str(more[0]), lately=bool(more[1]))
                else:
                    getattr(model, str(name))(*more)
                _check(model)
            model.look()
            _check(model)
            assert not any(opened_by(world, seeds) for seeds in model.remembered.values())
        finally:
            world.close()


def _check(model: Model) -> None:
    world = model.world
    assert world.truth().refused == {}
    assert set(who_may_read(world)) == {PARTIES[who].id for who in model.reading}
    for who in model.reading:
        assert model.held(PARTIES[who]) == model.ids
    for who, seeds in model.remembered.items():
        opens = [int(one.partition(" ")[2]) for one in opened_by(world, seeds) if one.startswith("log ")]
        assert all(position <= model.written_since[who] for position in opens)
