"""What verifying a chain finds, told apart; a stranger's verifier finds the same. VERIFY.md."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.api.service import Service
from aggregator.audit import chain, chain_file, remembered, verify
from aggregator.audit.tables import SignedHead
from aggregator.audit.verify import Entry, Finding, Kind, Remembered, Stored, Verdict
from aggregator.commands.audit import verified
from aggregator.errors import CallerError
from aggregator.vault.audit_key import AuditKey
from tests import databases
from tests.audit import chains, stranger
from tests.audit.chains import OTHER, TAMPERING, cut_back, head_at, rewrite, sign, tamper
from tests.vault.world import World
from tests.weaken import weakens

VECTORS = Path(__file__).parent / "vectors"


@pytest.fixture
def recorded(world: World) -> World:
    """See tests/audit/chains.py."""
    chains.record(world)
    return world


def key(world: World) -> bytes:
    return world.ring.audit_verification_key()


def check(world: World, *kept: Remembered, vault: str | None = None) -> Verdict:
    with world.store.read() as session:
        return verify.check(session, vault or world.vault, key(world), kept)


def told_to_a_stranger(world: World, *kept: Remembered, vault: str | None = None) -> stranger.Verdict:
    with world.store.read() as session:
        text = b"".join(chain_file.lines(session, vault or world.vault, key(world))).decode()
    return stranger.verdict(text, key(world), [(one.vault, one.position, one.head) for one in kept])


def found(world: World, *kept: Remembered) -> tuple[Kind, int] | None:
    """What we find, after seeing that a stranger finds the same."""
    finding = check(world, *kept).finding
    said = (finding.kind.value, finding.first) if finding else ("", 0)
    assert told_to_a_stranger(world, *kept) == said
    return (finding.kind, finding.first) if finding else None


def kept(world: World, position: int, length: int = 32) -> Remembered:
    return Remembered(world.vault, position, head_at(world, position)[:length], "a friend")


def test_a_chain_that_holds(recorded: World) -> None:
    assert check(recorded) == Verdict(7, head_at(recorded, 7), 7)
    assert check(recorded, vault=OTHER).receipts == check(recorded, vault=OTHER).signed_upto == 2
    assert found(recorded, kept(recorded, 7), kept(recorded, 3), kept(recorded, 0)) is None
    assert told_to_a_stranger(recorded, vault=OTHER) == ("", 0)


def test_one_signature_a_commit(recorded: World) -> None:
    with recorded.store.read() as session:
        rows = session.connection().exec_driver_sql("SELECT vault, position, leaf, size, signature FROM signed_head")
        told = {(vault, position): (leaf, size, signature) for vault, position, leaf, size, signature in rows}
    assert {place: size for place, (_, size, _) in told.items()} == {
        (recorded.vault, 4): 2,
        (OTHER, 2): 2,
        (recorded.vault, 6): 1,
        (recorded.vault, 7): 1,
    }
    assert len({signature for *_, signature in told.values()}) == 3


@pytest.mark.parametrize("case", TAMPERING)
@pytest.mark.attack(30)
def test_tampering_is_found_and_told_apart(recorded: World, case: str) -> None:
    if case == "a number beyond all" and databases.on_postgresql():
        pytest.skip("its column holds no such number")
    wanted = tamper(recorded, case)
    assert found(recorded) == wanted
    assert check(recorded, vault=OTHER).finding is None or "another vault's" in case


def _without_box(head: bytes, opening: bytes, number: int, _box: bytes) -> bytes:
    return chain.leaf(opening.hex(), number, head)


@pytest.mark.attack(30)
@weakens("aggregator.audit.chain", "next_head", _without_box)
def test_an_edit_is_found(world: World) -> None:
    chains.record(world)
    tamper(world, "an edited entry")
    assert check(world).finding == Finding(Kind.EDITED, 1)


@pytest.mark.attack(30)
@weakens("aggregator.audit.verify", "is_signed", lambda *_: True)
def test_a_head_signed_by_another_key_is_found(recorded: World) -> None:
    """Rewritten whole, and signed by a key of one's own."""
    sign(recorded, 7, rewrite(recorded, 0), Ed25519PrivateKey.generate())
    assert found(recorded) == (Kind.SIGNATURE, 7)


@pytest.mark.attack(30)
@weakens("aggregator.audit.verify._Walk", "_end", lambda *_: None)
def test_a_cut_end_is_found(recorded: World) -> None:
    tamper(recorded, "a truncated chain")
    assert check(recorded).finding == Finding(Kind.TRUNCATED, 7)


@pytest.mark.parametrize("behind", [0, 4, 5])
@pytest.mark.attack(30)
@weakens("aggregator.audit.verify._Walk", "_signed", lambda *_: None)
def test_a_chain_rewritten_lacks_the_key_services_signature(recorded: World, behind: int) -> None:
    """Receipts, heads and the vault's row made anew, as the code makes them; old signatures left, then taken away."""
    rewrite(recorded, behind)
    first = 1 if behind < 4 else 5
    assert found(recorded) == (Kind.REWRITTEN, first)
    recorded.sql("DELETE FROM signed_head WHERE vault = ? AND position > ?", recorded.vault, behind)
    assert found(recorded) == (Kind.UNSIGNED, first)


@pytest.mark.parametrize("length", [32, 20])
@pytest.mark.attack(24, 30)
@weakens("aggregator.audit.verify._Walk", "_memories", lambda *_: None, about=(24, 30))
def test_an_earlier_state_brought_back_is_found_against_the_remembered_head(recorded: World, length: int) -> None:
    """All that the check sees was right once. What finds it is the head that somebody kept."""
    remembered_heads = [kept(recorded, position, length) for position in (7, 4)]
    cut_back(recorded, 6)
    assert found(recorded) is None
    assert found(recorded, *remembered_heads) == (Kind.TRUNCATED, 7)
    assert "so remembers a friend" in str(check(recorded, *remembered_heads).finding)


@pytest.mark.attack(24, 30)
@weakens("aggregator.commands.audit", "_counted", lambda *_: [], about=(24, 30))
def test_an_earlier_state_brought_back_is_found_against_the_key_services_counter(recorded: World) -> None:
    """Nobody kept a head, but the key service did."""
    service = cast(Service, SimpleNamespace(store=recorded.store, key_service=recorded.ring))
    (before,) = verified(service, [recorded.vault])
    assert before["error"] == ""
    cut_back(recorded, 6)
    (after,) = verified(service, [recorded.vault])
    assert (after["finding"], after["first"]) == ("truncated", 7)
    assert after["error"].endswith("so remembers the key service")


@pytest.mark.attack(30)
@weakens("aggregator.audit.verify._Walk", "_memories", lambda *_: None)
def test_a_chain_signed_twice_is_found_against_the_remembered_head(recorded: World) -> None:
    """Cut back, and gone on from there with the key service's own signatures: two histories."""
    before = [kept(recorded, position) for position in (4, 7)]
    cut_back(recorded, 4)
    with recorded.unwatched(), recorded.store.write() as session:
        chains.commit(session, recorded.ring, chains.receipts(recorded.vault, 5))
    assert found(recorded) is None
    assert found(recorded, *before) == (Kind.REWRITTEN, 5)
    assert found(recorded, before[0]) is None


@pytest.mark.attack(30)
def test_a_whole_opening_of_another_vault_is_known_where_that_vault_is(recorded: World) -> None:
    recorded.sql(
        f"UPDATE receipt SET (opening, number, box) = (SELECT opening, number, box FROM receipt WHERE vault = '{OTHER}'"
        " AND position = 1) WHERE vault = ? AND position = 7",
        recorded.vault,
    )
    assert check(recorded).finding == Finding(Kind.FOREIGN, 7)
    assert told_to_a_stranger(recorded) == ("edited", 7)


def test_there_is_no_chain_without_a_vault(recorded: World) -> None:
    assert check(recorded, vault="c" * 26).finding == Finding(Kind.MISSING, 1)


def test_another_key_services_signatures_do_not_count(recorded: World) -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    with recorded.store.read() as session:
        assert verify.check(session, recorded.vault, other).finding == Finding(Kind.SIGNATURE, 4)


# Heads that are kept.


def newest(world: World) -> SignedHead:
    with world.store.read() as session:
        made = remembered.newest(session, world.vault)
    assert made
    return made


def line(world: World) -> str:
    head = newest(world)
    return remembered.as_line(head.vault, head.position, head.head)


def test_a_head_comes_back_from_json_and_from_paper(recorded: World) -> None:
    told = remembered.as_json(newest(recorded), key(recorded))
    assert (told["position"], told["head"]) == (7, head_at(recorded, 7).hex())
    on_paper = line(recorded)
    texts = [
        orjson.dumps(told).decode(),
        orjson.dumps([told], option=orjson.OPT_INDENT_2).decode(),
        on_paper,
        f"\n{on_paper.lower()}  \n{orjson.dumps(told).decode()}\n",
    ]
    for text in texts:
        for one in remembered.read(text, key(recorded)):
            assert (one.vault, one.position) == (recorded.vault, 7)
            assert check(recorded, one).finding is None
    assert stranger.paper(on_paper) == (recorded.vault, 7, head_at(recorded, 7)[:20])


def test_a_slip_of_the_pen_is_told_as_such(recorded: World) -> None:
    right = line(recorded)
    for at in (len("PRA1-AUDIT ") + 3, len(right) - 22, len(right) - 2):
        wrong = right[:at] + ("a" if right[at] != "a" else "b") + right[at + 1 :]
        with pytest.raises(CallerError, match="was mistyped"):
            remembered.read(wrong, key(recorded))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"head": bytes(32).hex()}, "was not signed by the key that it names"),
        ({"position": 6}, "was not signed by the key that it names"),
        ({"position": -1}, "was not signed by the key that it names"),
        ({"signature": ""}, "was not signed by the key that it names"),
        ({"head": "x"}, "lacks a member"),
        ({"key": None}, "lacks a member"),
    ],
)
def test_a_kept_head_that_nobody_signed_is_refused(recorded: World, changed: dict[str, Any], told: str) -> None:
    made = remembered.as_json(newest(recorded), key(recorded)) | changed
    with pytest.raises(CallerError, match=told):
        remembered.read(orjson.dumps(made).decode(), key(recorded))


def test_a_kept_head_of_another_key_service_is_told_as_such(recorded: World) -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    made = orjson.dumps(remembered.as_json(newest(recorded), key(recorded))).decode()
    with pytest.raises(CallerError, match="another key service"):
        remembered.read(made, other)


@pytest.mark.parametrize("text", ["", "PRA1-AUDIT", "PRA1-AUDIT x y", "{", "17", "[17]", "PRA1-AUDIT v 7 " + "a " * 36])
def test_what_is_no_head_is_refused(text: str) -> None:
    if text:
        with pytest.raises(CallerError):
            remembered.read(text, bytes(32))
    else:
        assert remembered.read(text, bytes(32)) == []


# The vectors: what a stranger's verifier must find.


@pytest.mark.parametrize("file", sorted(VECTORS.glob("*.json")), ids=lambda file: file.stem)
def test_vectors(file: Path) -> None:
    vector = orjson.loads(file.read_bytes())
    wanted, own = (vector["expected"]["finding"], vector["expected"]["first"]), bytes.fromhex(vector["key"])
    heads = [(one["vault"], one["position"], bytes.fromhex(one["head"])) for one in vector["remembered"]]
    assert stranger.verdict("\n".join(map(_text, vector["chain"])), own, heads) == wanted
    finding = verify.examine(_stored(vector["chain"]), own, [Remembered(*one, "the vector") for one in heads]).finding
    assert (finding.kind.value, finding.first) == wanted if finding else wanted == ("", 0)


def test_there_is_a_vector_for_every_finding() -> None:
    found = {orjson.loads(file.read_bytes())["expected"]["finding"] for file in VECTORS.glob("*.json")}
    assert found == {"", *(kind.value for kind in Kind if kind is not Kind.MISSING)}


def _text(line: dict[str, Any]) -> str:
    return orjson.dumps(line).decode()


def _stored(lines: list[dict[str, Any]]) -> Stored:
    row = lines[0]
    keys = [_key(one) for one in lines if one["line"] == "key"]
    numbers = {one.key.hex(): one.number for one in keys}
    heads = [
        SignedHead(
            **{name: bytes.fromhex(one[name]) if name in _BYTES else one[name] for name in _HEAD},
            key_number=numbers.get(one["key"], 0) if keys else 1,
        )
        for one in lines
        if one["line"] == "head"
    ]
    entries = [
        Entry(one["position"], bytes.fromhex(one["opening"]), one["number"], bytes.fromhex(one["box"]))
        for one in lines
        if one["line"] == "receipt"
    ]
    return Stored(
        vault=row["vault"],
        position=row["position"],
        head=bytes.fromhex(row["head"]),
        entries=lambda behind: [entry for entry in entries if entry.position > behind],
        heads=heads,
        keys=keys,
    )


def _key(line: dict[str, Any]) -> AuditKey:
    key, signature, vouched = (bytes.fromhex(line[name]) for name in ("key", "signature", "vouched"))
    return AuditKey(number=line["number"], key=key, since=line["from"], signature=signature, vouched=vouched)


_HEAD, _BYTES = set(SignedHead.model_fields) - {"key_number"}, ("head", "path", "signature")
