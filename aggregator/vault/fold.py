"""state = fold(snapshot, envelopes in log order): pure, because every operation carries its version."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from aggregator.vault.envelope import Delete, Operation, Put, Remove


@dataclass(frozen=True, slots=True)
class Version:
    """An operation, the log position that brought it, and who wrote it."""

    position: int
    writer: str
    operation: Put | Delete


@dataclass(slots=True)
class State:
    """Per section name: local id -> versions, oldest first."""

    position: int = 0
    sections: dict[str, dict[str, list[Version]]] = field(default_factory=dict)

    def current(self) -> Iterable[tuple[str, Put]]:
        """(section, newest version) of every resource that has not ended."""
        for section, resources in self.sections.items():
            for versions in resources.values():
                newest = versions[-1].operation
                if isinstance(newest, Put):
                    yield section, newest

    def at(self, position: int) -> State:
        """The state as it was at an earlier log position."""
        earlier = State(position)
        for section, resources in self.sections.items():
            kept = {
                local: past
                for local, versions in resources.items()
                if (past := [version for version in versions if version.position <= position])
            }
            earlier.sections[section] = kept
        return earlier


def fold(state: State, section: str, position: int, writer: str, operations: Iterable[Operation]) -> None:
    """Apply one envelope. Applying it a second time changes nothing."""
    resources = state.sections.setdefault(section, {})
    for operation in operations:
        if isinstance(operation, Remove):
            resources.pop(operation.local, None)
            continue
        versions = resources.setdefault(operation.local, [])
        if not versions or operation.version > versions[-1].operation.version:
            versions.append(Version(position, writer, operation))
    state.position = max(state.position, position)
