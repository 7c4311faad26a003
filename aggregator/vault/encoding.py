"""Canonical bytes, base32 ids and padded lengths (FORMAT.md sections 1, 2 and 4)."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import orjson

ID_LENGTH = 26  # base32 characters of 16 bytes


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no white space. What is signed or authenticated goes through here."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def b32(raw: bytes) -> str:
    """RFC 4648 base32, lower case, without padding."""
    return base64.b32encode(raw).decode().rstrip("=").lower()


def b32_all(raw: bytes) -> list[str]:
    """b32 of each 16 bytes: encoded in one piece, with each one's padding, since the library's loop is slow."""
    padded = b"".join(raw[at : at + 16] + bytes(4) for at in range(0, len(raw), 16))
    text = base64.b32encode(padded).decode().lower()
    return [text[at : at + ID_LENGTH] for at in range(0, len(text), 32)]


_DIGITS = str.maketrans("abcdefghijklmnopqrstuvwxyz234567", "0123456789ABCDEFGHIJKLMNOPQRSTUV")


def unb32_all(ids: Iterable[str]) -> bytes:
    """The inverse of b32_all. Raises ValueError. As numbers of base 32, six times as fast as by the library."""
    text = "".join(ids).translate(_DIGITS)
    return b"".join(
        (int(text[at : at + ID_LENGTH], 32) >> 2).to_bytes(16, "big") for at in range(0, len(text), ID_LENGTH)
    )


def b64(raw: bytes) -> str:
    """Base64 for bytes inside canonical JSON."""
    return base64.b64encode(raw).decode()


def unb64(text: str) -> bytes:
    """The inverse of b64; raises ValueError."""
    return base64.b64decode(text, validate=True)


def instant(now: datetime) -> str:
    """A FHIR instant in UTC with milliseconds."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant_of(milliseconds: int) -> str:
    """The same of milliseconds since 1970 UTC."""
    return instant(datetime.fromtimestamp(milliseconds / 1000, UTC))


def milliseconds(stated: str) -> int:
    """An instant as milliseconds since 1970 UTC. Raises ValueError for what is none, or says no time zone."""
    moment = datetime.fromisoformat(stated)
    if moment.tzinfo is None:
        raise ValueError("an instant without a time zone")
    return int(moment.timestamp() * 1000)


def padme(length: int) -> int:
    """The padded length that tells only O(log log n) bits (Padmé, https://petsymposium.org/popets/2019/popets-2019-0056.php)."""
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (length + mask) & ~mask
