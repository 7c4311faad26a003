"""Laws of the fold: state = fold(snapshot, envelopes in log order)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from aggregator.vault.envelope import Delete, Operation, Put, Remove
from aggregator.vault.fold import State, Version, fold

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


locals_ = st.sampled_from("abc")
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(put, locals_, st.integers(1, 5)),
    st.builds(delete, locals_, st.integers(1, 5)),
    st.builds(remove, locals_),
)
envelopes = st.builds(
    Folded, st.sampled_from(["results", "problems"]), st.sampled_from(["owner", "m1"]), st.lists(operations).map(tuple)
)
logs = st.lists(envelopes, max_size=8)


def folded(log: list[Folded], start: State | None = None, first: int = 1) -> State:
    state = start or State()
    for position, one in enumerate(log, first):
        fold(state, one.section, position, one.writer, one.operations)
    return state


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
    """Whoever holds the seeds of one section folds that section as the owner does."""
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


@given(st.lists(envelopes.map(lambda one: Folded(one.section, one.writer, _without_removals(one))), max_size=8))
def test_the_state_at_a_position_is_the_fold_up_to_it(log: list[Folded]) -> None:
    """But for removals, which take history with them on purpose."""
    whole = folded(log)
    for position in range(len(log) + 1):
        earlier = folded(log[:position])
        told = {section: resources for section, resources in whole.at(position).sections.items() if resources}
        assert told == {section: resources for section, resources in earlier.sections.items() if resources}
        assert whole.at(position).position == position


def _without_removals(one: Folded) -> tuple[Operation, ...]:
    return tuple(operation for operation in one.operations if not isinstance(operation, Remove))


def test_a_removal_leaves_neither_history_nor_tombstone() -> None:
    state = folded([Folded("results", "m1", (put("a", 1), put("a", 2), put("b", 1), remove("a")))])
    assert state.sections == {"results": {"b": [Version(1, "m1", put("b", 1))]}}
    assert state.at(1).sections == {"results": {"b": [Version(1, "m1", put("b", 1))]}}


def test_a_deletion_leaves_a_tombstone_and_the_history() -> None:
    state = folded([Folded("results", "m1", (put("a", 1),)), Folded("results", "m1", (delete("a", 2),))])
    assert state.sections == {"results": {"a": [Version(1, "m1", put("a", 1)), Version(2, "m1", delete("a", 2))]}}
    assert list(state.current()) == []
    assert list(state.at(1).current()) == [("results", put("a", 1))]


def test_an_older_version_never_replaces_a_newer() -> None:
    state = folded([Folded("results", "m1", (put("a", 2), put("a", 1), put("a", 2)))])
    assert list(state.current()) == [("results", put("a", 2))]
    assert len(state.sections["results"]["a"]) == 1
