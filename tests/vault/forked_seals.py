"""Seals in a process and its forks: `python -m tests.vault.forked_seals FORKS EACH [--whole] [--one-state]`.

Writes what each box has drawn to stdout, 12 and 32 bytes a time: nonce and data key. --whole: with HPKE around it,
and the data key as the recipient opens it; else the data key is taken on its way there, which is 20 times faster.
--one-state: the weakened build, whose random numbers come out of this process's memory.
"""

from __future__ import annotations

import os
import random
import sys
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from aggregator.vault import seal
from aggregator.vault.seal import PrivateKey, SuiteId, expand, header, read_header

KEY = bytes(range(32))
HEAD = header("envelope", "v")
PUBLIC = PrivateKey(KEY, SuiteId.X25519).public()
X25519 = X25519PrivateKey.from_private_bytes(expand(KEY, "hpke", 96)[64:])
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
TOP = 6 + len(read_header(PUBLIC.seal(HEAD, b"")))


class InClear:
    """In HPKE's place: hands the data key over as it is."""

    def encrypt(self, data_key: bytes, _key: Any, *, info: bytes) -> bytes:
        _ = info
        return data_key


def drawn(whole: bool) -> bytes:
    """Nonce and data key of a new sealed box."""
    box = PUBLIC.seal(HEAD, b"text")
    nonce_at = TOP + 2 + int.from_bytes(box[TOP : TOP + 2], "big")
    sealed = box[TOP + 2 : nonce_at]
    key = SUITE.decrypt(sealed, X25519, info=box[6:TOP]) if whole else sealed
    return box[nonce_at : nonce_at + 12] + key


def main(forks: int, each: int, whole: bool) -> None:
    """Draw once before forking, so that whatever state there is, is shared; then in each of 2 ** forks processes."""
    made, children = [drawn(whole)], list[int]()
    for _ in range(forks):
        child = os.fork()
        made, children = (made, [*children, child]) if child else ([], [])
    made += [drawn(whole) for _ in range(each)]
    sys.stdout.buffer.write(b"".join(made))
    sys.stdout.buffer.flush()
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    if "--one-state" in sys.argv:
        os.urandom = random.Random(1).randbytes
    if "--whole" not in sys.argv:
        seal._SUITES = {SuiteId.X25519: InClear()}  # type: ignore[dict-item]
    main(int(sys.argv[1]), int(sys.argv[2]), "--whole" in sys.argv)
