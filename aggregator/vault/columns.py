"""Many small JSON objects as bytes that pack well: member by member, what is random out of the text (FORMAT.md, 7).

Beside bodies that resemble each other, what stands beside a body is mostly its id at the source and a hash. As text
they cost half as much again as the bytes they are made of; here a UUID takes its 16 bytes and 16 hex digits take 8.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

_RANDOM = re.compile(rb"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{16}")
# JSON escapes control characters, so a bare one can only stand for what was taken out there.
_UUID, _DIGITS = b"\x00", b"\x01"
_TAKEN = re.compile(rb"[\x00\x01]")
_GROUPS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
_HEAD = struct.Struct(">II")


def pack(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """`u32 number of rows || u32 |t| || t || pool`, t = {member:[its value in each row, null where it has none]}.

    An object's members have columns of their own ("origin.source"). In t, 0x00 stands for a UUID and 0x01 for 16 hex
    digits, all in lower case, whose bytes lie in the pool in that order. No value may be null.
    """
    flat = [_flat(row) for row in rows]
    names = sorted({name for row in flat for name in row})
    pool = list[bytes]()

    def take(found: re.Match[bytes]) -> bytes:
        digits = found[0].replace(b"-", b"")
        pool.append(bytes.fromhex(digits.decode()))
        return _UUID if len(digits) == 32 else _DIGITS

    text = _RANDOM.sub(take, orjson.dumps({name: [row.get(name) for row in flat] for name in names}))
    return b"".join([_HEAD.pack(len(rows), len(text)), text, *pool])


def unpack(data: bytes) -> list[dict[str, Any]]:
    """The inverse of pack. Raises ValueError, struct.error or TypeError for what is none."""
    number, size = _HEAD.unpack_from(data)
    start = _HEAD.size + size
    digits, at = data[start:].hex().encode(), 0

    def give(found: re.Match[bytes]) -> bytes:
        nonlocal at
        start, at = at, at + (32 if found[0] == _UUID else 16)
        given = digits[start:at]
        return b"-".join(given[a:b] for a, b in _GROUPS) if found[0] == _UUID else given

    columns = orjson.loads(_TAKEN.sub(give, data[_HEAD.size : start]))
    rows: list[dict[str, Any]] = [{} for _ in range(number)]
    for name, values in columns.items():
        member, inside, child = name.partition(".")
        for row, value in zip(rows, values, strict=True):
            if value is not None:
                if inside:
                    row.setdefault(member, {})[child] = value
                else:
                    row[member] = value
    return rows


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    made = dict[str, Any]()
    for name, value in row.items():
        if isinstance(value, Mapping):
            made |= {f"{name}.{child}": one for child, one in value.items()}
        else:
            made[name] = value
    return made
