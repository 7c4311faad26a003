"""A part of a snapshot: versions of resources as one text, bodies first, then what stands beside them (FORMAT.md, 7).

A body is found in the text by its place alone, so an image can name it. What stands beside is read only with the truth.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aggregator.errors import Tampered
from aggregator.vault.columns import pack, unpack
from aggregator.vault.envelope import Put, Remove, members, read_members
from aggregator.vault.fold import Left, Version

_FULL = 1024 * 1024  # bytes of bodies at which a part closes: what is fetched for one body
_SIZE = struct.Struct(">I")
_NAMED = re.compile(rb'\{"resourceType":"([A-Za-z]+)","id":"[a-z2-7]{26}\.([a-z2-7]{26})"')


@dataclass(slots=True)
class Part:
    """Bodies, each with a line break, what stands beside each version, and where each resource's newest body starts."""

    bodies: bytearray = field(default_factory=bytearray)
    beside: list[dict[str, Any]] = field(default_factory=list)
    starts: dict[str, int] = field(default_factory=dict)

    def add(self, version: Version) -> None:
        """The next version; those of one resource from old to new."""
        operation = version.operation
        beside = members(operation) | {"position": version.position, "writer": version.writer}
        if version.left:
            beside["left"] = {"section": version.left.section, "position": version.left.position}
        if isinstance(operation, Put):
            if not version.left:
                self.starts[operation.local] = len(self.bodies)
            self.bodies += operation.resource + b"\n"
            if _named(operation.resource) == (operation.resource_type, operation.local):
                del beside["type"], beside["id"]
        self.beside.append(beside)

    def text(self) -> bytes:
        """`bodies || columns || u32 |columns|`."""
        beside = pack(self.beside)
        return b"".join((self.bodies, beside, _SIZE.pack(len(beside))))


def parts(resources: Iterable[Sequence[Version]]) -> Iterator[Part]:
    """The versions of each resource, as a section has them: all of a resource lie in one part."""
    part = Part()
    for versions in resources:
        for version in versions:
            part.add(version)
        if len(part.bodies) >= _FULL:
            yield part
            part = Part()
    if part.beside:
        yield part


def bodies(text: bytes) -> bytes:
    """The part of a part's text in which places lie. Raises struct.error for what is none."""
    return text[: -_SIZE.size - _SIZE.unpack(text[-_SIZE.size :])[0]]


def read(text: bytes) -> Iterator[tuple[Version, int]]:
    """The versions of a part's text, in order, and where their bodies start (a delete has none: where the next does).

    Raises Tampered for what `Part.text` would not have made.
    """
    try:
        (size,) = _SIZE.unpack(text[-_SIZE.size :])
        end, start = len(text) - _SIZE.size - size, 0
        lines = iter(text[:end].split(b"\n"))
        for beside in unpack(text[end : -_SIZE.size]):
            body = next(lines) if beside["op"] == "put" else None
            yield _version(beside, body), start
            start += 0 if body is None else len(body) + 1
    except (KeyError, ValueError, TypeError, struct.error, StopIteration, RuntimeError):
        raise Tampered("a stored snapshot is not of the format") from None


def _version(beside: dict[str, Any], body: bytes | None) -> Version:
    if body is not None and "id" not in beside:
        beside["type"], beside["id"] = _named(body) or ("", "")
    operation = read_members({"origin": {}} | beside, body)
    if isinstance(operation, Remove):
        raise Tampered("a stored snapshot holds a removal")
    left = Left(str(beside["left"]["section"]), int(beside["left"]["position"])) if "left" in beside else None
    return Version(int(beside["position"]), str(beside["writer"]), operation, left)


def _named(body: bytes) -> tuple[str, str] | None:
    """Type and local id where a body begins with them, as all do that this service has put in order."""
    found = _NAMED.match(body)
    return (found[1].decode(), found[2].decode()) if found else None
