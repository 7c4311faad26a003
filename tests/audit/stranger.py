"""A verifier written from `aggregator/audit/VERIFY.md` alone, as somebody would who does not trust this program.

SHA-256 and Ed25519; nothing of the project is imported.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Line = dict[str, Any]
Verdict = tuple[str, int]
"""(finding, first); ("", 0) where the chain holds."""


def read(text: str) -> tuple[Line, list[Line], list[Line], list[Line]]:
    """Section 2: the vault's line, the keys, the signed heads, the receipts."""
    lines = [json.loads(line) for line in text.splitlines()]
    by_kind: dict[str, list[Line]] = {"vault": [], "key": [], "head": [], "receipt": []}
    for line in lines:
        by_kind[line["line"]].append(line)
    return by_kind["vault"][0], by_kind["key"], by_kind["head"], by_kind["receipt"]


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def next_head(head: bytes, receipt: Line) -> bytes:
    """Section 3."""
    box = sha(bytes.fromhex(receipt["box"]))
    return sha(head, bytes.fromhex(receipt["opening"]), receipt["number"].to_bytes(4, "big"), box)


def root(signed: Line) -> bytes | None:
    """Section 3: where the path leads."""
    f, size, path, position = signed["leaf"], signed["size"], bytes.fromhex(signed["path"]), signed["position"]
    if not 0 <= f < size or len(path) % 32 or not 0 < position < 2**32:
        return None
    s = size - 1
    r = sha(b"\x00", signed["vault"].encode(), position.to_bytes(4, "big"), bytes.fromhex(signed["head"]))
    for p in (path[at : at + 32] for at in range(0, len(path), 32)):
        if s == 0:
            return None
        if f % 2 == 1 or f == s:
            r = sha(b"\x01", p, r)
            while f % 2 == 0 and f > 0:
                f, s = f // 2, s // 2
        else:
            r = sha(b"\x01", r, p)
        f, s = f // 2, s // 2
    return r if s == 0 else None


def is_signed(signed: Line, key: bytes) -> bool:
    found = root(signed)
    if found is None:
        return False
    return verifies(key, bytes.fromhex(signed["signature"]), b"PRA1/heads" + found)


def verifies(key: bytes, signature: bytes, data: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def trusted(lines: Sequence[Line], key: bytes) -> dict[str, int]:
    """Section 3: public key in hex -> number, of those that the one that is trusted leads to."""
    if not lines:
        return {key.hex(): 1}
    found = {line["key"]: line["number"] for line in lines if line["key"] == key.hex()}
    reached = True
    while reached:
        reached = False
        for before, line in pairwise(lines):
            forward, back = before["key"] in found, line["key"] in found
            if forward == back or line["number"] != before["number"] + 1:
                continue
            told = {name: line[name] for name in ("from", "key", "number")} | {"before": before["key"]}
            stated = json.dumps(told | {"kind": "audit-key"}, sort_keys=True, separators=(",", ":")).encode()
            signer, signature = (before, line["signature"]) if forward else (line, line["vouched"])
            if verifies(bytes.fromhex(signer["key"]), bytes.fromhex(signature), b"PRA1/audit-key" + stated):
                new = line if forward else before
                found[new["key"]], reached = new["number"], True
    return found


def wrongly_signed(row: Line, lines: Sequence[Line], heads: Sequence[Line], key: bytes) -> int | None:
    """Section 4, 1."""
    keys, number = trusted(lines, key), 0
    for signed in heads:
        named = signed["key"] if lines else key.hex()
        if signed["vault"] != row["vault"] or keys.get(named, 0) < max(number, 1):
            return int(signed["position"])
        if not is_signed(signed, bytes.fromhex(named)):
            return int(signed["position"])
        number = keys[named]
    newest = lines[-1]["number"] if lines else 1
    return int(heads[-1]["position"]) if heads and number != newest else None


def paper(line: str) -> tuple[str, int, bytes]:
    """Section 5: (vault, position, the head's first 20 bytes)."""
    word, vault, position, *groups = line.split()
    letters, check = "".join(groups[:8]).lower(), groups[8].lower()
    right = base64.b32encode(sha(f"PRA1/audit-line/{vault}/{position}/{letters}".encode())).decode().lower()
    assert (word, right[:4]) == ("PRA1-AUDIT", check)
    return vault, int(position), base64.b32decode(letters.upper())


def verdict(text: str, key: bytes, remembered: Iterable[tuple[str, int, bytes]] = ()) -> Verdict:
    """Section 4. remembered: (vault, position, the head or its first bytes)."""
    row, lines, heads, receipts = read(text)
    wrong = wrongly_signed(row, lines, heads, key)
    if wrong is not None:
        return "signature", wrong
    walked = [sha(b"PRA1/audit/", row["vault"].encode())]
    for receipt in receipts:
        expected = len(walked)
        if receipt["position"] > expected:
            return "deleted", expected
        if receipt["position"] < expected:
            return "added", receipt["position"]
        if not 0 <= receipt["number"] < 2**32:
            return "edited", expected
        walked.append(next_head(walked[-1], receipt))
    return _found(row, heads, receipts, walked) or _forgotten(row, walked, remembered) or ("", 0)


def _found(row: Line, heads: Sequence[Line], receipts: Sequence[Line], walked: Sequence[bytes]) -> Verdict | None:
    n, h, agreed = len(receipts), walked[-1], 0
    for signed in heads:
        if signed["position"] > n or walked[signed["position"]].hex() != signed["head"]:
            break
        agreed = signed["position"]
    end = max([row["position"], *(signed["position"] for signed in heads)])
    for signed in heads:
        if agreed < signed["position"] <= n:
            return _explain(row, receipts, walked, agreed, signed["position"], signed["head"], end)
    if n < end:
        return "truncated", n + 1
    if row["position"] < n:
        return ("head", agreed) if row["position"] < agreed else ("added", row["position"] + 1)
    if agreed < n:
        if row["head"] != h.hex():
            return _explain(row, receipts, walked, agreed, n, row["head"], end)
        return "unsigned", agreed + 1
    return None if row["head"] == h.hex() else ("head", agreed)


def _explain(
    row: Line, receipts: Sequence[Line], walked: Sequence[bytes], agreed: int, p: int, wanted: str, end: int
) -> Verdict:
    if (row["position"], row["head"]) == (len(receipts), walked[-1].hex()):
        return "rewritten", agreed + 1
    if len(receipts) < end:
        return "deleted", agreed + 1
    stretch = receipts[agreed:p]
    for opening in {one["opening"] for one in stretch}:
        numbers = [one["number"] for one in stretch if one["opening"] == opening]
        if numbers != sorted(set(numbers)):
            return "reordered", agreed + 1
    if len(stretch) <= 64:
        for i in range(len(stretch)):
            for j in range(i):
                tried = list(stretch)
                tried[i], tried[j] = tried[j], tried[i]
                head = walked[agreed]
                for one in tried:
                    head = next_head(head, one)
                if head.hex() == wanted:
                    return "reordered", agreed + 1
    for at in range(agreed, p):
        begun = {one["opening"] for one in receipts[: at + 1] if one["number"] == 0}
        if receipts[at]["number"] > 0 and receipts[at]["opening"] not in begun:
            return "foreign", at + 1
    return "edited", agreed + 1


def _forgotten(row: Line, walked: Sequence[bytes], remembered: Iterable[tuple[str, int, bytes]]) -> Verdict | None:
    kept = 0
    for vault, position, head in sorted(remembered, key=lambda one: one[1]):
        if vault != row["vault"]:
            continue
        if position >= len(walked):
            return "truncated", len(walked)
        if walked[position][: len(head)] != head:
            return "rewritten", kept + 1
        kept = position
    return None
