"""The worker's keys, the whole database and a debugger: `python -m tests.vault.blind_worker FOLDER STORE`.

FOLDER holds `worker.key` and `feed.key`; STORE is a copy of the database, or PostgreSQL's URL. The program opens all
that a worker may open, takes every key that it holds, finds or can derive, and tries each on every box there is, past
headers and commitments. It prints {"keys", "boxes": {kind: number}, "opened": {kind: number}} as JSON.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import text

from aggregator.errors import Tampered
from aggregator.vault.envelope import read_envelope
from aggregator.vault.seal import PrivateKey, expand, read_header, unwrap
from aggregator.vault.store import Store
from aggregator.vault.worker_keys import WorkerKeys
from tests import databases

_COLUMNS = {
    "envelope": "SELECT vault, envelope FROM log",
    "snapshot": "SELECT vault, box FROM snapshot_section",
    "earlier seeds": "SELECT vault, earlier FROM section_keys WHERE epoch > 1",
    "ledger": "SELECT vault, box FROM ledger",
    "mandate": "SELECT vault, box FROM mandate",
    "grant": 'SELECT vault, box FROM "grant"',
    "grants": "SELECT vault, box FROM grant_archive",
    "image": "SELECT vault, box FROM image",
    "sections": "SELECT id, sections FROM vault WHERE id <> 'system'",
    "unlocker": "SELECT vault, box FROM unlocker",
    "session": "SELECT vault, box FROM owner_session",
    "settings": "SELECT vault, settings FROM connection",
    "state": "SELECT vault, state FROM connection WHERE state IS NOT NULL",
    "quarantine note": "SELECT owner, note FROM quarantine",
    "quarantine payload": "SELECT owner, payload FROM quarantine WHERE payload IS NOT NULL",
    "receipts": "SELECT vault, box FROM receipt WHERE number = 0",
}
_ENTRIES = "SELECT vault, opening, number, box FROM receipt WHERE number > 0"


@dataclass(frozen=True)
class Box:
    """Something at rest. `aad`: what an entry, which has no header, is bound to."""

    kind: str
    data: bytes
    aad: bytes = b""
    number: int = 0


def boxes(store: Store) -> list[Box]:
    """Every box of the database."""
    with store.read() as session:
        connection = session.connection()
        found = [Box(kind, row[1]) for kind, query in _COLUMNS.items() for row in connection.execute(text(query))]
        for vault, opening, number, box in connection.execute(text(_ENTRIES)):
            found.append(Box("receipt", box, vault.encode() + opening + struct.pack(">I", number), number))
    return found


def derived(keys: Iterable[bytes], names: Iterable[str]) -> set[bytes]:
    """The keys, and all that the format derives from any of them, for these section ids and source handles."""
    labels = [
        "sign",
        "id",
        "tag",
        "owner",
        "image",
        "audit",
        "snapshot",
        "earlier",
        "recovery",
        "row",
        "enc",
        "commit",
        "feed",
    ]
    labels += ["rows", "handles", "tickets", "audit-heads", "system-audit", "entry/1", "entry/2"]
    sections = [f"section/{name}/{epoch}" for name in names for epoch in (1, 2)]
    made = set(keys)
    for key in list(made):
        seeds = {expand(key, label) for label in sections}
        made |= seeds | {expand(seed, "snapshot") for seed in seeds}
        made |= {expand(key, label) for label in labels} | {expand(key, "hpke", 96)[:32], hashlib.sha256(key).digest()}
        made |= {half for name in names for half in _halves(expand(key, f"ledger/{name}", 64))}
    return made


def _halves(value: bytes) -> tuple[bytes, bytes]:
    return value[:32], value[32:]


class Cracker:
    """Tries keys on boxes, and on what lies inside what they open."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._keys = list(keys)
        self._private = [PrivateKey(key) for key in self._keys]
        self._enc = [expand(key, "enc") for key in self._keys]

    def opens(self, box: Box) -> bytes | None:
        """The plaintext, through both locks where there are two."""
        tries = {b"PRS1": self._sealed, b"PRW1": self._wrapped}.get(box.data[:4], self._entry)
        plaintext = next(tries(box), None)
        if plaintext is not None and plaintext[:4] == b"PRW1":
            return self.opens(Box(box.kind, plaintext))
        return plaintext

    def _sealed(self, box: Box) -> Iterator[bytes]:
        data = read_envelope(box.data).box if box.kind == "envelope" else box.data
        top = read_header(data)
        head = {name: value for name, value in orjson.loads(top).items() if name != "suite"}
        yield from _tried(lambda private: private.open(head, data), self._private)
        at = 6 + len(top)
        body = data[at + 2 + struct.unpack_from(">H", data, at)[0] :]
        yield from _raw(body, top, self._keys)

    def _wrapped(self, box: Box) -> Iterator[bytes]:
        top = read_header(box.data)
        yield from _tried(lambda key: unwrap(key, orjson.loads(top), box.data), self._keys)
        yield from _raw(box.data[6 + len(top) + 32 :], top, [*self._keys, *self._enc])

    def _entry(self, box: Box) -> Iterator[bytes]:
        yield from _raw(box.data, box.aad, [*self._keys, *(expand(key, f"entry/{box.number}") for key in self._keys)])


def _raw(data: bytes, aad: bytes, keys: Iterable[bytes]) -> Iterator[bytes]:
    """AES-GCM itself, past commitment and encapsulation."""
    yield from _tried(lambda key: AESGCM(key).decrypt(data[:12], data[12:], aad), keys)


def _tried(attempt: Callable[[Any], bytes], keys: Iterable[Any]) -> Iterator[bytes]:
    for key in keys:
        with contextlib.suppress(Tampered, InvalidTag, ValueError):
            yield attempt(key)


def held(plaintext: bytes) -> set[bytes]:
    """All 32-byte values in something that the worker opened: as bytes, and as hex or base64 anywhere in its JSON."""
    found = set[bytes]()
    for value in _strings(orjson.loads(plaintext)):
        for decode in (bytes.fromhex, lambda one: base64.b64decode(one, validate=True), str.encode):
            with contextlib.suppress(ValueError, binascii.Error):
                raw = decode(value)
                # A public key has a suite byte in front: its parts begin one byte later.
                found |= {raw[at : at + 32] for start in (0, 1) for at in range(start, len(raw) - 31, 32)}
    return found


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _strings(child)


def _names(store: Store) -> set[str]:
    """Section ids and source handles, which stand open in certificates and rows."""
    with store.read() as session:
        rows = session.connection().execute(text("SELECT certificate FROM mandate")).scalars()
        ids = {section for row in rows for section in orjson.loads(row)["sections"]}
        return ids | {row.hex() for row in session.connection().execute(text("SELECT source FROM ledger")).scalars()}


def main(folder: Path, place: str) -> dict[str, Any]:
    """All of the above, with what lies in the folder."""
    seed, feed = (bytes.fromhex((folder / name).read_text()) for name in ("worker.key", "feed.key"))
    worker, store = WorkerKeys(seed, feed), databases.opened(place)
    found = boxes(store)
    own, opened = {seed, feed}, []
    for box in found:
        with contextlib.suppress(Tampered):
            if box.data[:4] == b"PRS1":
                head = orjson.loads(read_header(box.data))
                opened.append(worker.open({name: head[name] for name in head if name != "suite"}, box.data))
    # What is derived from a part of a public key is as good as random: such parts are tried as they are.
    secrets = {value for plaintext in opened for value in held(plaintext)}
    few = own | {value for plaintext in opened for value in held(_without_public_keys(plaintext))}
    cracker = Cracker(derived(few, _names(store)) | secrets)
    told = Counter(box.kind for box in found if cracker.opens(box) is not None)
    store.close()
    return {"keys": len(cracker._keys), "boxes": Counter(box.kind for box in found), "opened": told}


def _without_public_keys(plaintext: bytes) -> bytes:
    made = orjson.loads(plaintext)
    return orjson.dumps({name: value for name, value in made.items() if name != "sections"})


if __name__ == "__main__":
    print(orjson.dumps(main(Path(sys.argv[1]), sys.argv[2])).decode())  # noqa: T201 - what this program is for
