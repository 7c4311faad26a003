"""Heads that a patient keeps outside the service: as JSON in an app, or as one line on paper (VERIFY.md section 5).

    PRA1-AUDIT k3c7...26 17 abcd efgh ijkl mnop qrst uvwx yz23 4567 xy2z

A line holds vault, position, the head's first 20 bytes in base32 by fours, and four letters against slips of the pen.
Whoever wants two chains that agree in 20 bytes has to try 2^80 of them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import orjson
from sqlmodel import Session, col, select

from aggregator.audit.tables import SignedHead
from aggregator.audit.verify import Remembered, is_signed
from aggregator.errors import CallerError
from aggregator.vault.encoding import b32

_WORD = "pra1-audit"
_KEPT = 20  # bytes of a head that stand on paper
_LETTERS, _CHECK = 32, 4
_WITNESS = "the head that was kept"


def newest(session: Session, vault: str) -> SignedHead | None:
    """The last head that was signed for this vault; None before its first receipt."""
    mine = select(SignedHead).where(SignedHead.vault == vault)
    return session.exec(mine.order_by(col(SignedHead.position).desc()).limit(1)).first()


def as_json(signed: SignedHead, key: bytes) -> dict[str, Any]:
    """{vault, position, head, leaf, size, path, signature, key}: bytes in hex, all that shows who signed it.

    key: the one that did.
    """
    return {
        "vault": signed.vault,
        "position": signed.position,
        "head": signed.head.hex(),
        "leaf": signed.leaf,
        "size": signed.size,
        "path": signed.path.hex(),
        "signature": signed.signature.hex(),
        "key": key.hex(),
    }


def as_line(vault: str, position: int, head: bytes) -> str:
    """For paper."""
    letters = b32(head[:_KEPT])
    groups = [letters[at : at + 4] for at in range(0, _LETTERS, 4)]
    return " ".join((_WORD.upper(), vault, str(position), *groups, _check(vault, position, letters)))


def read(text: str, *keys: bytes) -> list[Remembered]:
    """The heads of a file: what `audit head --json` prints, or one a line in either form. keys: the service's own.

    Raises CallerError for what is none, was mistyped, or is not signed by the key that it names or by the service's.
    """
    return [one for told in _told(text) for one in _read(told, keys)]


def _told(text: str) -> Iterator[object]:
    try:
        whole = orjson.loads(text)
    except orjson.JSONDecodeError:
        yield from (line for line in text.splitlines() if line.strip())
        return
    if isinstance(whole, dict):
        whole = whole.get("heads", [whole])
    yield from whole if isinstance(whole, list) else [whole]


def _read(told: object, keys: Collection[bytes]) -> Iterable[Remembered]:
    if isinstance(told, str) and told.lstrip().startswith("{"):
        try:
            told = orjson.loads(told)
        except orjson.JSONDecodeError:
            raise CallerError("a remembered head is no JSON") from None
    if isinstance(told, str):
        return [_of_line(told)]
    if isinstance(told, dict):
        return [_of_json(told, keys)]
    raise CallerError("a remembered head is a JSON object or a line that begins with PRA1-AUDIT")


def _of_json(told: Mapping[str, Any], keys: Collection[bytes]) -> Remembered:
    try:
        signed = SignedHead(
            vault=str(told["vault"]),
            position=int(told["position"]),
            head=bytes.fromhex(told["head"]),
            leaf=int(told["leaf"]),
            size=int(told["size"]),
            path=bytes.fromhex(told["path"]),
            signature=bytes.fromhex(told["signature"]),
        )
        named = bytes.fromhex(told["key"])
    except (KeyError, TypeError, ValueError):
        raise CallerError("a remembered head lacks a member, or one is not what it should be") from None
    if not is_signed(signed, named):
        raise CallerError(f"the remembered head at receipt {signed.position} was not signed by the key that it names")
    if named not in keys:
        raise CallerError(
            f"the remembered head at receipt {signed.position} was signed by another key service than this one"
        )
    return Remembered(signed.vault, signed.position, signed.head, _WITNESS)


def _of_line(line: str) -> Remembered:
    word, _, rest = line.strip().lower().partition(" ")
    vault, _, rest = rest.strip().partition(" ")
    position, _, rest = rest.strip().partition(" ")
    letters = "".join(rest.split())
    if word != _WORD or not (position.isascii() and position.isdecimal()) or len(letters) != _LETTERS + _CHECK:
        raise CallerError("a line for paper is PRA1-AUDIT, the vault, a number, and nine groups of four letters")
    if letters[_LETTERS:] != _check(vault, int(position), letters[:_LETTERS]):
        raise CallerError(f"the line of receipt {int(position)} was mistyped: its last four letters do not fit")
    return Remembered(vault, int(position), base64.b32decode(letters[:_LETTERS].upper()), _WITNESS)


def _check(vault: str, position: int, letters: str) -> str:
    return b32(hashlib.sha256(f"PRA1/audit-line/{vault}/{position}/{letters}".encode()).digest())[:_CHECK]
