"""Writes `tests/audit/vectors`: `python -m tests.audit.make_vectors`. Every run draws other keys."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.audit import chain_file, verify
from aggregator.audit.verify import Remembered
from tests.audit.chains import TAMPERING, cut_back, head_at, record, rewrite, sign, tamper
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


def main() -> None:
    """Each case on a copy of one world."""
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder, "template")
        template.mkdir()
        owner = sign_up(template).owner
        cases = {case: lambda world, case=case: tamper(world, case) for case in TAMPERING} | KEPT
        for number, (case, act) in enumerate(cases.items()):
            world = copy(template, owner, Path(folder, str(number)))
            record(world)
            kept = [_kept(world, at) for at in (4, 7)] if case in KEPT else []
            act(world)
            made = {"title": case, **_vector(world, kept)}
            FOLDER.joinpath(case.replace(" ", "-").replace(",", "").replace("'", "") + ".json").write_bytes(
                orjson.dumps(made, option=orjson.OPT_INDENT_2) + b"\n"
            )
            world.close()


def _kept(world: World, position: int) -> Remembered:
    return Remembered(world.vault, position, head_at(world, position), "a vector")


def _vector(world: World, kept: list[Remembered]) -> dict[str, Any]:
    key = world.ring.audit_verification_key()
    with world.store.read() as session:
        lines = [orjson.loads(line) for line in chain_file.lines(session, world.vault, key)]
        finding = verify.check(session, world.vault, key, kept).finding
    heads = [{"vault": one.vault, "position": one.position, "head": one.head.hex()} for one in kept]
    expected = {"finding": finding.kind.value, "first": finding.first} if finding else {"finding": "", "first": 0}
    return {"key": key.hex(), "chain": lines, "remembered": heads, "expected": expected}


if __name__ == "__main__":
    main()
