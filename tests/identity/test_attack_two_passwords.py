"""A row that two passwords would open: with AES-GCM alone it can be built, with the commitment it cannot."""

from __future__ import annotations

import os
import struct
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aggregator.errors import Tampered
from aggregator.identity import unlockers
from aggregator.identity.tables import Unlocker
from aggregator.vault import seal
from aggregator.vault.encoding import canonical
from aggregator.vault.packing import Unpackable
from aggregator.vault.seal import expand
from tests.vault.salamander import collide
from tests.vault.world import PASSWORD, World
from tests.weaken import weakens

OTHER = "Ein anderes Passwort"


@pytest.mark.attack(35)
@weakens("aggregator.vault.seal.hmac", "compare_digest", lambda *_: True)
def test_no_row_opens_under_two_passwords(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever built one could give a person one vault and themselves another under the same row.

    The frame of a body (its length, zstd's) would refuse such a body as well, but by luck, not by design: it is taken
    out of the way, so that the commitment alone stands.
    """
    row = world.unlocker()
    keys = [_key(row, password) for password in (PASSWORD, OTHER)]
    top, nonce = canonical(unlockers.inner_header(row)), os.urandom(12)
    body = collide((expand(keys[0], "enc"), expand(keys[1], "enc")), nonce, top, os.urandom(16))
    both = [AESGCM(expand(key, "enc")).decrypt(nonce, body, top) for key in keys]
    assert both[0] != both[1]
    inner = b"PRW1" + struct.pack(">H", len(top)) + top + expand(keys[0], "commit") + nonce + body
    row.box = world.ring.lock(row.vault, unlockers.outer_header(row), inner)
    monkeypatch.setattr(seal, "_unpad", _lenient)
    assert [_opens(world, row, password) for password in (PASSWORD, OTHER)] == [True, False]


def _key(row: Unlocker, password: str) -> bytes:
    salt = bytes.fromhex(orjson.loads(row.parameters)["salt"])
    return unlockers._argon2(password, salt, unlockers.Argon2Parameters())


def _opens(world: World, row: Unlocker, password: str) -> bool:
    try:
        unlockers.unlock(world.ring, row, password)
    except Tampered:
        return False
    return True


_unpad = seal._unpad


def _lenient(body: bytes, *how: Any) -> bytes:
    try:
        return _unpad(body, *how)
    except (Unpackable, struct.error):
        return body
