"""The fold's rules, one by one: who counts, what is newest, what a position holds."""

from __future__ import annotations

import pytest

from aggregator.errors import Tampered
from aggregator.vault.envelope import Delete, Operation, Put, Remove
from aggregator.vault.fold import Left, State, Version, fold
from aggregator.vault.keys import OWNER

pytestmark = pytest.mark.storeless

AT = "2026-11-21T20:30:00.000Z"
COPY = "it is a copy of an older one, or stands elsewhere than where it was written"


def put(local: str, version: int) -> Put:
    return Put(local=local, resource_type="Basic", version=version, updated=AT, resource=b"%d" % version)


def delete(local: str, version: int) -> Delete:
    return Delete(local=local, resource_type="Basic", version=version, updated=AT)


def made(*entries: tuple[str, str, Operation]) -> State:
    """(section, writer, operation), each an envelope."""
    state = State()
    for position, (section, writer, operation) in enumerate(entries, 1):
        fold(state, section, position, writer, [operation])
    return state


def test_a_new_state_is_before_the_log() -> None:
    assert State() == State(0, {}, {})


@pytest.mark.parametrize(("number", "position", "counts"), [(5, 5, True), (4, 5, False), (6, 5, False)])
def test_the_owners_envelope_counts_at_its_position_alone(number: int, position: int, counts: bool) -> None:
    state = State(numbers={(OWNER, "s"): 9})
    if counts:
        state.expect(OWNER, "s", number, position)
        return
    with pytest.raises(Tampered, match=COPY):
        state.expect(OWNER, "s", number, position)


@pytest.mark.parametrize(("number", "counts"), [(4, True), (9, True), (3, False), (2, False), (0, False)])
def test_a_writers_envelope_counts_while_its_numbers_rise(number: int, counts: bool) -> None:
    state = State(numbers={("m", "s"): 3, ("m", "t"): 1, ("n", "s"): 2})
    if counts:
        state.expect("m", "s", number, 1)
        return
    with pytest.raises(Tampered, match=COPY):
        state.expect("m", "s", number, number)


def test_a_writers_first_number_is_at_least_1() -> None:
    State().expect("m", "s", 1, 7)
    with pytest.raises(Tampered, match=COPY):
        State().expect("m", "s", 0, 0)


def test_each_writers_number_is_remembered_by_section_and_the_owners_is_not() -> None:
    state = State()
    state.count("m", "s", 3)
    state.count("m", "t", 4)
    state.count("n", "s", 5)
    state.count(OWNER, "s", 6)
    assert state.numbers == {("m", "s"): 3, ("m", "t"): 4, ("n", "s"): 5}


@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_sections_the_owners_counts_then_the_higher_version_then_the_later(swapped: bool) -> None:
    sections = ["problems", "results"][:: -1 if swapped else 1]
    for older, newer in (
        (Version(9, "m", put("a", 9)), Version(1, OWNER, put("a", 1))),
        (Version(9, "m", put("a", 1)), Version(1, "m", put("a", 2))),
        (Version(1, "m", put("a", 1)), Version(2, "m", delete("a", 1))),
    ):
        held = dict(zip(sections, [older, newer], strict=True))
        state = State(9, {name: {"a": [version]} for name, version in sorted(held.items())})
        assert list(state.newest()) == [(sections[1], [newer])]


def test_of_each_section_the_newest_version_is_compared() -> None:
    first = [Version(1, "m", put("a", 1)), Version(5, "m", put("a", 5))]
    second = [Version(2, "m", put("a", 2)), Version(3, "m", put("a", 3))]
    for one, other in (("s", "t"), ("t", "s")):
        assert list(State(5, dict(sorted({one: {"a": first}, other: {"a": second}}.items()))).newest()) == [
            (one, first)
        ]


def test_of_two_that_are_equal_the_first_counts() -> None:
    version = Version(1, "m", put("a", 1))
    assert list(State(1, {"s": {"a": [version]}, "t": {"a": [version]}}).newest()) == [("s", [version])]


def test_what_ended_is_not_current() -> None:
    state = made(("s", "m", put("a", 1)), ("s", "m", delete("a", 2)), ("t", "m", put("b", 1)), ("t", "m", put("b", 4)))
    assert list(state.current()) == [("t", put("b", 4))]
    assert [len(versions) for _, versions in state.newest()] == [2, 2]


def test_of_many_versions_the_last_is_current_and_an_older_one_comes_too_late() -> None:
    state = made(*(("s", "m", put("a", version)) for version in (1, 2, 5, 4, 3)))
    assert [one.operation.version for one in state.sections["s"]["a"]] == [1, 2, 5]
    assert list(state.current()) == [("s", put("a", 5))]


def test_a_position_holds_what_came_up_to_it() -> None:
    state = made(("s", "m", put("a", 1)), ("s", "m", put("a", 2)), ("t", "m", put("b", 1)))
    first = {"s": {"a": [Version(1, "m", put("a", 1))]}, "t": {}}
    assert state.at(1) == State(1, first)
    assert state.at(2) == State(2, {"s": state.sections["s"], "t": {}})
    assert state.at(3) == State(3, state.sections)


def test_a_version_counts_where_it_is_higher() -> None:
    state = made(("s", "m", put("a", 2)), ("s", "m", put("a", 2)), ("s", "m", delete("a", 1)), ("s", "m", put("a", 3)))
    assert [version.position for version in state.sections["s"]["a"]] == [1, 4]


def test_an_envelope_is_applied_to_its_end_whatever_it_removes() -> None:
    state = State()
    batch: list[Operation] = [put("a", 1), Remove(local="a", resource_type="Basic"), put("b", 1)]
    fold(state, "s", 1, "m", iter(batch))
    fold(state, "t", 2, "m", [Remove(local="never was", resource_type="Basic")])
    left = Version(1, "m", put("a", 1), Left("s", 1))
    assert state == State(2, {"s": {"b": [Version(1, "m", put("b", 1))]}, "t": {}}, moved={"a": [left]})


def test_what_one_envelope_brings_and_removes_is_history_once_however_often_it_is_applied() -> None:
    """A source that was asked late tells of two moves at once."""
    batch: list[Operation] = [put("a", 1), put("a", 2), Remove(local="a", resource_type="Basic"), put("a", 3)]
    state = State()
    for _ in range(2):
        fold(state, "s", 1, "m", batch)
        assert state.sections == {"s": {"a": [Version(1, "m", put("a", 3))]}}
        assert state.moved == {"a": [Version(1, "m", put("a", version), Left("s", 1)) for version in (1, 2)]}
    for _ in range(2):
        fold(state, "s", 2, "m", [put("b", 1), Remove(local="b", resource_type="Basic")])
        assert state.moved["b"] == [Version(2, "m", put("b", 1), Left("s", 2))]


def test_what_came_too_late_for_what_an_envelope_removes_does_so_again() -> None:
    state = made(("s", "m", put("a", 2)))
    for _ in range(2):
        fold(state, "s", 2, "m", [put("a", 1), Remove(local="a", resource_type="Basic")])
        assert state.sections == {"s": {}}
        assert state.moved == {"a": [Version(1, "m", put("a", 2), Left("s", 2))]}
    fold(state, "s", 3, "m", [put("a", 1)])  # another envelope brings it back
    assert state.sections == {"s": {"a": [Version(3, "m", put("a", 1))]}}


@pytest.mark.parametrize("position", [2, 3, 4])
def test_a_removal_takes_what_came_before_it_and_with_it(position: int) -> None:
    state = made(("s", "m", put("a", 1)), ("s", "m", put("a", 2)), ("s", "m", put("a", 3)))
    fold(state, "s", position, "m", [Remove(local="a", resource_type="Basic")])
    left = [one.position for one in state.sections["s"].get("a", [])]
    assert left == [one for one in (1, 2, 3) if one > position]
    assert ("a" in state.sections["s"]) == bool(left)
    moved = [one for one in (1, 2, 3) if one < position]
    assert state.moved == {"a": [Version(one, "m", put("a", one), Left("s", position)) for one in moved]}


def moving() -> State:
    """From s to t and on to s."""
    state = made(("s", "m", put("a", 1)), ("t", "m", put("a", 2)))
    fold(state, "s", 3, "m", [Remove(local="a", resource_type="Basic")])
    fold(state, "s", 4, "m", [put("a", 3)])
    fold(state, "t", 5, "m", [Remove(local="a", resource_type="Basic")])
    return state


def test_what_moved_has_its_history_and_is_present_once() -> None:
    state = moving()
    first = Version(1, "m", put("a", 1), Left("s", 3))
    second, third = Version(2, "m", put("a", 2), Left("t", 5)), Version(4, "m", put("a", 3))
    assert state.moved == {"a": [first, second]}
    assert list(state.newest()) == [("s", [third])]
    assert list(state.histories()) == [[first, second, third]]
    assert list(state.every()) == [third, first, second]


def test_a_position_holds_what_moved_where_it_lay() -> None:
    state = moving()
    first, second = Version(1, "m", put("a", 1)), Version(2, "m", put("a", 2))
    left = Version(1, "m", put("a", 1), Left("s", 3))
    assert state.at(1) == State(1, {"s": {"a": [first]}, "t": {}})
    assert state.at(2) == State(2, {"s": {"a": [first]}, "t": {"a": [second]}})
    assert state.at(3) == State(3, {"s": {}, "t": {"a": [second]}}, moved={"a": [left]})
    assert state.at(5) == state
    assert State(9, moved=state.moved).at(4) == State(4, {"t": {"a": [second]}}, moved={"a": [left]})


def test_what_was_removed_and_went_nowhere_has_no_history() -> None:
    state = made(("s", "m", put("a", 1)), ("s", "m", put("b", 1)), ("t", "m", put("b", 2)))
    fold(state, "s", 4, "m", [Remove(local=local, resource_type="Basic") for local in "ab"])
    assert state.moved.keys() == {"a", "b"}
    state.let_go()
    assert state.moved == {"b": [Version(2, "m", put("b", 1), Left("s", 4))]}
    State().let_go()


def test_a_version_that_is_not_below_the_present_ones_is_no_history_of_theirs() -> None:
    """Numbers go on when a resource moves: a writer who begins anew has written another one."""
    state = made(*(("s", "m", put("a", version)) for version in (4, 5, 7)), ("s", "m", put("never moved", 1)))
    fold(state, "s", 5, "m", [Remove(local="a", resource_type="Basic")])
    fold(state, "t", 6, "m", [put("a", 5), put("a", 9)])
    assert [[one.operation.version for one in versions] for versions in state.histories()] == [[1], [4, 5, 9]]


def test_what_the_owner_has_changed_is_the_owners() -> None:
    state = made(("s", "m", put("a", 1)), ("s", OWNER, put("a", 2)))
    with pytest.raises(Tampered, match="it changes what its author did not write"):
        fold(state, "s", 3, "m", [put("a", 3)])


def test_who_wrote_last_owns_and_the_owner_may_change_everything() -> None:
    state = made(("s", "m", put("a", 1)), ("t", OWNER, put("a", 2)), ("s", OWNER, put("a", 3)))
    for operation in (put("a", 9), put("b", 1)):
        if operation.local == "b":
            fold(state, "t", 4, "m", [operation])
            continue
        with pytest.raises(Tampered, match="it changes what its author did not write"):
            fold(state, "u", 4, "m", [put("c", 1), operation])
    assert "u" not in state.sections
    assert state.sections["t"]["b"] == [Version(4, "m", put("b", 1))]
