"""Writes `tests/audit/vectors`: `python -m tests.audit.make_vectors`. Every run draws other keys."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.audit import chain_file, keys, verify
from aggregator.audit.tables import AuditKeyRow
from aggregator.audit.verify import Remembered
from aggregator.vault.audit_key import successor
from tests.audit.chains import TAMPERING, cut_back, forge, head_at, record, rewrite, sign, tamper
from tests.vault.world import World, copy, sign_up

FOLDER = Path(__file__).parent / "vectors"
KEPT: dict[str, Callable[[World], object]] = {
    "a chain that holds": lambda _: None,
    "an earlier state brought back": lambda world: cut_back(world, 6),
    "rewritten whole": lambda world: rewrite(world, 0),
    "rewritten behind a commit": lambda world: rewrite(world, 4),
    "rewritten whole and signed by another key": lambda world: sign(
        world, 7, rewrite(world, 0), Ed25519PrivateKey.generate()
    ),
}
"""What is done, of which somebody keeps the heads at 4 and 7 from before."""


def _replaced(world: World) -> bytes:
    """A second key signs; the one that signed before, which is trusted here."""
    keys.settle(world.store, world.ring)
    first = world.ring.audit_verification_key()
    world.ring.rotate_audit(world.clock())
    keys.settle(world.store, world.ring)
    return first


def _stolen(world: World) -> bytes:
    old = Ed25519PrivateKey.from_private_bytes(world.ring._rows.own("audit-heads"))
    first = _replaced(world)
    forge(world, old, 1)
    return first


def _unsigned(world: World) -> bytes:
    keys.settle(world.store, world.ring)
    (first,) = world.ring.audit_keys()
    own = Ed25519PrivateKey.generate()
    made = successor(first, own, own, 0)
    with world.store.write() as session:
        session.add(AuditKeyRow.of(made))
    forge(world, own, 2)
    return first.key


def _newest(world: World) -> bytes:
    _replaced(world)
    return world.ring.audit_verification_key()


KEYS: dict[str, Callable[[World], bytes]] = {
    "a key replaced, the old one trusted": _replaced,
    "a key replaced, the new one trusted": _newest,
    "an end that the old key signed": _stolen,
    "a key that the one before did not sign": _unsigned,
}
"""What is done, and the key that the verifier trusts."""


def main() -> None:
    """Each case on a copy of one world."""
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder, "template")
        template.mkdir()
        owner = sign_up(template).owner
        cases = {case: lambda world, case=case: tamper(world, case) for case in TAMPERING} | KEPT | KEYS
        for number, (case, act) in enumerate(cases.items()):
            world = copy(template, owner, Path(folder, str(number)))
            record(world)
            kept = [_kept(world, at) for at in (4, 7)] if case in KEPT else []
            done = act(world)
            key = done if case in KEYS else world.ring.audit_verification_key()
            made = {"title": case, **_vector(world, key, kept)}
            FOLDER.joinpath(case.replace(" ", "-").replace(",", "").replace("'", "") + ".json").write_bytes(
                orjson.dumps(made, option=orjson.OPT_INDENT_2) + b"\n"
            )
            world.close()


def _kept(world: World, position: int) -> Remembered:
    return Remembered(world.vault, position, head_at(world, position), "a vector")


def _vector(world: World, key: bytes, kept: list[Remembered]) -> dict[str, Any]:
    with world.store.read() as session:
        lines = [
            orjson.loads(line) for line in chain_file.lines(session, world.vault, world.ring.audit_verification_key())
        ]
        finding = verify.check(session, world.vault, key, kept).finding
    heads = [{"vault": one.vault, "position": one.position, "head": one.head.hex()} for one in kept]
    expected = {"finding": finding.kind.value, "first": finding.first} if finding else {"finding": "", "first": 0}
    return {"key": key.hex(), "chain": lines, "remembered": heads, "expected": expected}


if __name__ == "__main__":
    main()
