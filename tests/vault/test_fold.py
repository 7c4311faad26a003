"""Laws of the fold: state = fold(snapshot, envelopes in log order)."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.errors import Tampered
from aggregator.vault.envelope import Delete, Operation, Put, Remove
from aggregator.vault.fold import State, Version, fold
from aggregator.vault.keys import OWNER
from tests.weaken import weakens

pytestmark = pytest.mark.storeless

AT = "2026-11-21T20:30:00.000Z"


def put(local: str, version: int) -> Put:
    return Put(local=local, resource_type="Basic", version=version, updated=AT, resource=b"%d" % version)


def delete(local: str, version: int) -> Delete:
    return Delete(local=local, resource_type="Basic", version=version, updated=AT)


def remove(local: str) -> Remove:
    return Remove(local=local, resource_type="Basic")


@dataclass(frozen=True)
class Folded:
    section: str
    writer: str
    operations: tuple[Operation, ...]


def operations(locals_: str) -> st.SearchStrategy[tuple[Operation, ...]]:
    local, version = st.sampled_from(locals_), st.integers(1, 5)
    one = st.one_of(st.builds(put, local, version), st.builds(delete, local, version), st.builds(remove, local))
    return st.lists(one).map(tuple)


sections = st.sampled_from(["results", "problems"])
OWN = {OWNER: "ab", "s1": "cd", "s2": "ef"}
"""Writer -> the ids that are its own: each writes nothing else in a log without forgeries."""
envelopes = st.one_of(st.builds(Folded, sections, st.just(writer), operations(own)) for writer, own in OWN.items())
logs = st.lists(envelopes, max_size=8)
mixed = st.lists(st.builds(Folded, sections, st.sampled_from(list(OWN)), operations("abc")), max_size=10)
"""Logs in which anybody tries anything."""


def folded(log: list[Folded], start: State | None = None, first: int = 1) -> State:
    state = start or State()
    for position, one in enumerate(log, first):
        with suppress(Tampered):
            fold(state, one.section, position, one.writer, one.operations)
    return state


@given(mixed)
def test_a_source_changes_nothing_of_the_owners_or_another_sources(log: list[Folded]) -> None:
    state = State()
    for position, one in enumerate(log, 1):
        before = copy.deepcopy(state)
        with suppress(Tampered):
            fold(state, one.section, position, one.writer, one.operations)
        for section, resources in before.sections.items():
            for local, versions in resources.items():
                if one.writer not in (OWNER, versions[-1].writer):
                    assert state.sections[section][local] == versions


@pytest.mark.attack(28)
@pytest.mark.parametrize("forged", [put("a", 99), delete("a", 99), remove("a")])
@pytest.mark.parametrize("section", ["results", "problems"])
@pytest.mark.parametrize("writer", [OWNER, "s1"])
@weakens("aggregator.vault.fold", "_is_anothers", lambda *_: False)
def test_an_envelope_that_touches_anothers_is_refused_whole(writer: str, section: str, forged: Operation) -> None:
    state = folded([Folded("results", writer, (put("a", 1),))])
    before = copy.deepcopy(state)
    with pytest.raises(Tampered, match="changes what its author did not write"):
        fold(state, section, 2, "s2", (put("z", 1), forged))
    assert state == before


def test_a_resource_moves_between_sections_in_either_order() -> None:
    """One commit appends its envelopes by section name: the put may come before the remove."""
    for first, second in (("problems", "results"), ("results", "problems")):
        log = [Folded(first, "s1", (put("a", 1),))]
        moves = {first: (remove("a"),), second: (put("a", 2),)}
        log += [Folded(section, "s1", made) for section, made in sorted(moves.items())]
        assert list(folded(log).current()) == [(second, put("a", 2))]
        assert list(folded([*log, Folded(second, "s1", (delete("a", 3),))]).current()) == []


@pytest.mark.parametrize("sections", [("problems", "results"), ("results", "problems")])
def test_of_two_sections_that_hold_one_id_the_newest_counts(sections: tuple[str, str]) -> None:
    """A writer forgot its remove: an image holds no id twice, so the vault would not open."""
    log = [Folded(sections[0], "s1", (put("a", 1),)), Folded(sections[1], "s1", (put("a", 2),))]
    assert list(folded(log).current()) == [(sections[1], put("a", 2))]


def test_a_removal_that_is_folded_late_leaves_what_came_after_it() -> None:
    """Its mandate's certificate was damaged for a while, so it was refused, and kept."""
    log = [
        Folded("results", "s1", (put("a", 1),)),
        Folded("results", "s1", ()),
        Folded("results", "s1", (put("a", 3),)),
    ]
    state = folded(log)
    fold(state, "results", 2, "s1", (remove("a"),))
    assert state.sections == {"results": {"a": [Version(3, "s1", put("a", 3))]}}


@given(logs)
def test_the_same_log_gives_the_same_state(log: list[Folded]) -> None:
    assert folded(log) == folded(copy.deepcopy(log))


@given(logs, logs)
def test_folding_goes_on_from_any_state(before: list[Folded], after: list[Folded]) -> None:
    assert folded(after, folded(before), len(before) + 1) == folded(before + after)


@given(logs, envelopes)
def test_the_same_envelope_twice_changes_nothing(log: list[Folded], one: Folded) -> None:
    state, position = folded(log), len(log) + 1
    fold(state, one.section, position, one.writer, one.operations)
    once = copy.deepcopy(state)
    fold(state, one.section, position, one.writer, one.operations)
    assert state == once


@given(logs)
def test_sections_do_not_meet(log: list[Folded]) -> None:
    """Whoever holds the seeds of one section folds that section as the owner does, where nobody forges."""
    whole, part = folded(log), State()
    for position, one in enumerate(log, 1):
        if one.section == "results":
            fold(part, one.section, position, one.writer, one.operations)
    assert part.sections.get("results") == whole.sections.get("results")


@given(logs)
def test_the_order_between_sections_makes_no_difference(log: list[Folded]) -> None:
    placed = list(enumerate(log, 1))
    state = State()
    for position, one in sorted(placed, key=lambda pair: pair[1].section):
        fold(state, one.section, position, one.writer, one.operations)
    assert state == folded(log)


@given(logs)
def test_versions_rise_and_none_is_empty(log: list[Folded]) -> None:
    for resources in folded(log).sections.values():
        for versions in resources.values():
            numbers = [version.operation.version for version in versions]
            assert numbers
            assert numbers == sorted(set(numbers))


@given(logs)
def test_the_state_at_a_position_is_the_fold_up_to_it(log: list[Folded]) -> None:
    whole = folded(log)
    for position in range(len(log) + 1):
        earlier, told = folded(log[:position]), whole.at(position)
        assert _filled(told) == _filled(earlier)
        assert (told.moved, told.position) == (earlier.moved, position)


def _filled(state: State) -> dict[str, dict[str, list[Version]]]:
    return {section: resources for section, resources in state.sections.items() if resources}


@given(logs)
def test_a_history_is_every_version_once_wherever_it_lay(log: list[Folded]) -> None:
    state = folded(log)
    for versions, (_, newest) in zip(state.histories(), state.newest(), strict=True):
        numbers = [version.operation.version for version in versions]
        assert numbers == sorted(numbers)
        assert versions[len(versions) - len(newest) :] == newest
        assert all(version.left for version in versions[: -len(newest)])


def test_a_removal_leaves_neither_history_nor_tombstone() -> None:
    state = folded([Folded("results", "s1", (put("a", 1), put("a", 2), put("b", 1), remove("a")))])
    assert state.sections == {"results": {"b": [Version(1, "s1", put("b", 1))]}}
    assert state.at(1).sections == {"results": {"b": [Version(1, "s1", put("b", 1))]}}


def test_a_deletion_leaves_a_tombstone_and_the_history() -> None:
    state = folded([Folded("results", "s1", (put("a", 1),)), Folded("results", "s1", (delete("a", 2),))])
    assert state.sections == {"results": {"a": [Version(1, "s1", put("a", 1)), Version(2, "s1", delete("a", 2))]}}
    assert list(state.current()) == []
    assert list(state.at(1).current()) == [("results", put("a", 1))]


def test_an_older_version_never_replaces_a_newer() -> None:
    state = folded([Folded("results", "s1", (put("a", 2), put("a", 1), put("a", 2)))])
    assert list(state.current()) == [("results", put("a", 2))]
    assert len(state.sections["results"]["a"]) == 1
