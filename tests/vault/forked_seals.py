"""Seals and wraps in a process and its forks: `python -m tests.vault.forked_seals FORKS EACH`.

Prints one line a box: its nonce and, for a sealed one, its data key and encapsulation.
"""

from __future__ import annotations

import os
import sys

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from aggregator.vault.seal import PrivateKey, SuiteId, expand, header, read_header, wrap

KEY = bytes(range(32))
HEAD = header("envelope", "v")
PRIVATE = PrivateKey(KEY, SuiteId.X25519)
X25519 = X25519PrivateKey.from_private_bytes(expand(KEY, "hpke", 96)[64:])
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def sealed() -> str:
    """Nonce, data key and encapsulation of a new sealed box, opened with the format's own words."""
    box = PRIVATE.public().seal(HEAD, b"text")
    top = read_header(box)
    at = 6 + len(top)
    length = int.from_bytes(box[at : at + 2], "big")
    capsule, nonce = box[at + 2 : at + 2 + length], box[at + 2 + length : at + 14 + length]
    return f"{nonce.hex()} {SUITE.decrypt(capsule, X25519, info=top).hex()} {capsule.hex()}"


def wrapped() -> str:
    """The nonce of a new wrapped box."""
    at = 6 + len(read_header(wrap(KEY, HEAD, b"")))
    return wrap(KEY, HEAD, b"text")[at + 32 : at + 44].hex()


def main(forks: int, each: int) -> None:
    """Draw once before forking, so that whatever state there is, is shared; then in each of 2 ** forks processes."""
    lines, children = [sealed(), wrapped()], list[int]()
    for _ in range(forks):
        child = os.fork()
        lines, children = (lines, [*children, child]) if child else ([], [])
    for _ in range(each):
        lines += [sealed(), wrapped()]
    os.write(1, ("\n".join(lines) + "\n").encode())
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
