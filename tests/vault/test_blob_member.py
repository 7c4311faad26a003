"""A Binary's blob goes with its put: through the envelope, the snapshot and the image, and out of nobody else's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from aggregator.vault import envelope
from aggregator.vault.blob import Blob
from aggregator.vault.envelope import Put, line, parse_line
from tests.vault.world import World
from tests.weaken import weakens

BLOB = Blob(id="a2" * 13, key=bytes(range(32)), size=70_000, sha256="00" * 32)


def binary(world: World) -> Put:
    return replace(world.put("Binary/b1", {"contentType": "application/pdf"}), blob=BLOB)


def test_a_line_holds_it_beside_the_origin(world: World) -> None:
    put = binary(world)
    assert orjson.loads(line(put))["blob"] == BLOB.member()
    assert parse_line(line(put)) == put
    assert "blob" not in orjson.loads(line(world.put("Binary/b1")))


def test_the_image_knows_it_from_the_log_and_from_the_snapshot(world: World) -> None:
    world.append("documents", binary(world), world.put("Binary/b2"), world.put("Observation/o1"))
    first = world.open()
    world.append("results", world.put("Observation/o2"))
    for view in (first, world.open(), world.open()):
        assert view.image.blob("Binary", world.local("Binary/b1")) == BLOB
        assert view.image.blob("Binary", world.local("Binary/b2")) is None
        assert view.image.blob("Binary", world.local("Binary/b3")) is None
        assert view.image.blob("Observation", world.local("Observation/o1")) is None


@pytest.mark.parametrize(
    ("kind", "blob"),
    [
        ("Observation", BLOB.member()),
        ("Binary", BLOB.member() | {"key": "AAAA"}),
        ("Binary", BLOB.member() | {"id": "../x"}),
        ("Binary", {}),
        ("Binary", None),
        ("Binary", "x"),
    ],
)
@pytest.mark.attack(28)
@weakens("aggregator.vault.envelope", "read_member", lambda _: None)
def test_an_envelope_with_an_unsound_one_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, blob: Any
) -> None:
    whole = envelope.line

    def forged(put: Put) -> bytes:
        return orjson.dumps({"blob": blob})[:-1] + b"," + whole(put)[1:]

    monkeypatch.setattr(envelope, "line", forged)
    world.append("documents", world.put(f"{kind}/b1"))
    truth = world.truth()
    assert list(truth.refused.values()) == ["a stored envelope holds no operations"]
    assert [section for section, _ in truth.state.current()] == ["identity"]
