"""state = fold(snapshot, envelopes in log order): pure, because every operation carries its version.

A resource belongs to whoever wrote it first: the owner, or one source, named by its handle. Mandates change when a
source is connected again, the handle does not. Nobody but the owner changes what another wrote (FORMAT.md section 5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from aggregator.errors import Tampered
from aggregator.vault.envelope import Delete, Operation, Put, Remove
from aggregator.vault.keys import OWNER


@dataclass(frozen=True, slots=True)
class Left:
    """The section that a version's resource has left, and the log position at which it did."""

    section: str
    position: int


@dataclass(frozen=True, slots=True)
class Version:
    """An operation, the log position that brought it, and who wrote it: OWNER, or a source's handle in hex."""

    position: int
    writer: str
    operation: Put | Delete
    left: Left | None = None


@dataclass(slots=True)
class State:
    """Per section name: local id -> versions, oldest first.

    numbers: (mandate's writer, section id) -> the highest number of its envelopes so far. moved: local id -> versions
    from before their resource left a section. They are in none any more: they are its history, for the owner alone.
    """

    position: int = 0
    sections: dict[str, dict[str, list[Version]]] = field(default_factory=dict)
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    moved: dict[str, list[Version]] = field(default_factory=dict)

    def expect(self, writer: str, section: str, number: int, position: int) -> None:
        """An envelope counts once, in its place. Raises Tampered for a copy, or one that was put elsewhere."""
        if number != position if writer == OWNER else number <= self.numbers.get((writer, section), 0):
            raise Tampered("it is a copy of an older one, or stands elsewhere than where it was written")

    def count(self, writer: str, section: str, number: int) -> None:
        """Remember an envelope that was folded. The owner's are bound to their positions and need no memory."""
        if writer != OWNER:
            self.numbers[writer, section] = number

    def newest(self) -> Iterable[tuple[str, list[Version]]]:
        """(section, versions) of every local id, once: two sections hold one only where a writer forgot its remove."""
        found: dict[str, tuple[str, list[Version]]] = {}
        for section, resources in self.sections.items():
            for local, versions in resources.items():
                if local not in found or _rank(found[local][1]) < _rank(versions):
                    found[local] = section, versions
        return found.values()

    def current(self) -> Iterable[tuple[str, Put]]:
        """(section, newest version) of every resource that has not ended."""
        for section, versions in self.newest():
            newest = versions[-1].operation
            if isinstance(newest, Put):
                yield section, newest

    def histories(self) -> Iterator[list[Version]]:
        """Of every local id all versions, also those from before its resource moved."""
        for _, versions in self.newest():
            first = versions[0].operation
            before = (one for one in self.moved.get(first.local, ()) if one.operation.version < first.version)
            yield [*sorted(before, key=lambda one: one.operation.version), *versions]

    def every(self) -> Iterator[Version]:
        """Every version that there is."""
        for resources in (*self.sections.values(), self.moved):
            for versions in resources.values():
                yield from versions

    def let_go(self) -> None:
        """Of what is in no section now there is no history: it was removed, and went nowhere."""
        here = set().union(*self.sections.values())
        self.moved = {local: versions for local, versions in self.moved.items() if local in here}

    def at(self, position: int) -> State:
        """The state as it was at an earlier log position."""
        earlier = State(position, {section: {} for section in self.sections})
        for local, versions in self.moved.items():
            for version in versions:
                if version.position <= position:
                    earlier._put_back(local, version)
        for section, resources in self.sections.items():
            for local, versions in resources.items():
                if past := [version for version in versions if version.position <= position]:
                    earlier.sections[section].setdefault(local, []).extend(past)
        return earlier

    def _put_back(self, local: str, version: Version) -> None:
        """A version that has left its section: had it, by this state's position?"""
        if version.left and version.left.position > self.position:
            resources = self.sections.setdefault(version.left.section, {})
            resources.setdefault(local, []).append(replace(version, left=None))
        else:
            self.moved.setdefault(local, []).append(version)


def _rank(versions: list[Version]) -> tuple[bool, int, int]:
    newest = versions[-1]
    return newest.writer == OWNER, newest.operation.version, newest.position


def fold(state: State, section: str, position: int, writer: str, operations: Iterable[Operation]) -> None:
    """Apply one envelope, wholly or not at all. Applying it a second time changes nothing.

    Raises Tampered where it touches what somebody else wrote.
    """
    batch = list(operations)
    if writer != OWNER and any(_is_anothers(state, operation.local, writer) for operation in batch):
        raise Tampered("it changes what its author did not write")
    resources, brought = state.sections.setdefault(section, {}), list[Version]()
    for operation in batch:
        if isinstance(operation, Remove):
            _remove(state, section, operation.local, position, brought)
            continue
        versions = resources.get(operation.local)
        newest = versions[-1].operation.version if versions else _taken(state, section, operation.local, position)
        if operation.version > newest:
            brought.append(Version(position, writer, operation))
            resources.setdefault(operation.local, []).append(brought[-1])
    state.position = max(state.position, position)


def _taken(state: State, section: str, local: str, position: int) -> int:
    """The newest version that left with the envelope at this position; 0 for none.

    What came too late for that one when the envelope was first folded does so when it is folded again.
    """
    left = Left(section, position)
    return max((one.operation.version for one in state.moved.get(local, ()) if one.left == left), default=0)


def _is_anothers(state: State, local: str, writer: str) -> bool:
    """In whatever section: a resource moves, and the sections of one vault share their ids."""
    return any(resources[local][-1].writer != writer for resources in state.sections.values() if local in resources)


def _remove(state: State, section: str, local: str, position: int, brought: list[Version]) -> None:
    """What came after the removal stays: an envelope that was refused is folded late, once its mandate is mended.

    brought: by the removal's own envelope, before it.
    """
    versions, left = state.sections[section].pop(local, []), Left(section, position)
    if later := [version for version in versions if version.position > position]:
        state.sections[section][local] = later
    gone = [replace(version, left=left) for version in versions if version.position < position or version in brought]
    if moved := [*state.moved.get(local, ()), *gone]:
        state.moved[local] = sorted(moved, key=lambda version: version.position)
