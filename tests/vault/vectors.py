"""What a vector of `aggregator/vault/vectors` says, tried with today's code.

A vector names its construct, the inputs, and what is expected: "open" with what it gives, or why it is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from aggregator.audit import merkle, receipts
from aggregator.audit.chain import first_head, leaf, next_head
from aggregator.audit.tables import Receipt
from aggregator.errors import Tampered
from aggregator.identity.tables import Unlocker
from aggregator.identity.unlockers import parse_code, unlock
from aggregator.vault import blob, epochs, ledger
from aggregator.vault.encoding import b32, padme, unb64
from aggregator.vault.envelope import line, open_envelope, read_envelope
from aggregator.vault.fold import State
from aggregator.vault.keys import Certificate, IdKey, Root, SectionSeed, Writer, read_certificate, verify
from aggregator.vault.ledger import Ledger
from aggregator.vault.log import first_link, link
from aggregator.vault.part import read as read_part
from aggregator.vault.seal import PrivateKey, SuiteId, expand, unwrap
from aggregator.vault.tables import Vault
from aggregator.vault.vouching import NOTHING, genuine, previous

FOLDER = Path(__file__).parents[2] / "aggregator" / "vault" / "vectors"

REFUSALS = {
    "wrong key": "does not open with its key|belongs to another key",
    "wrong header": "stands where another belongs",
    "wrong form": "has another form",
    "commitment": "belongs to another key",
    "suite lowered": "stands where another belongs",
    "changed": "was changed|does not open with its key",
    "truncated": "cut off|was changed|does not open with its key|has another length",
    "elsewhere": "belongs elsewhere, or to another key",
    "signature": "the signature of a stored",
    "no operations": "holds no operations",
    "no source": "names no source",
    "another epoch": "names an epoch that there is not",
    "below the Argon2 floor": "below the floor",
    "replaced": "was replaced",
    "slip": "group 2 of the recovery code has a slip",
}
"""What each refusal is called in a vector, and what the error says of it."""

Inputs = Mapping[str, Any]


def read(name: str) -> dict[str, Any]:
    """One vector by its file's name."""
    vector: dict[str, Any] = orjson.loads((FOLDER / f"{name}.json").read_bytes())
    return vector


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def attempt(vector: Mapping[str, Any]) -> dict[str, Any]:
    """What the construct gives for the inputs. Raises what the code raises."""
    return CONSTRUCTS[vector["construct"]](vector["inputs"])


def told(plaintext: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(plaintext).hexdigest()}


def _keys(given: Inputs) -> dict[str, Any]:
    root, source = Root(bytes.fromhex(given["root"])), bytes.fromhex(given["source"])
    seed = root.section(given["section"], given["epoch"])
    ledger = root.ledger_keys(source)
    return {
        "root_verification_key": root.verification_key.hex(),
        "section_seed": seed.seed.hex(),
        "section_public_key_sha256": hashlib.sha256(seed.private_key().public().raw).hexdigest(),
        "snapshot_key": seed.snapshot_key().hex(),
        "id_key": root.ids().key.hex(),
        "tag_key": root.tag_key().hex(),
        "ledger_seal_key": ledger[:32].hex(),
        "ledger_content_key": ledger[32:].hex(),
        "owner_key": root.owner_key().hex(),
        "image_key": root.image_key().hex(),
        "audit_public_key_sha256": hashlib.sha256(root.audit.public().raw).hexdigest(),
    }


def _ids(given: Inputs) -> dict[str, Any]:
    vault = b32(bytes.fromhex(given["vault"]))
    local = IdKey(bytes.fromhex(given["id_key"])).local(given["authority"], given["account"], given["source_id"])
    return {"vault": vault, "local": local, "id": f"{vault}.{local}"}


def _padme(given: Inputs) -> dict[str, Any]:
    return {"padded": [padme(length) for length in given["lengths"]]}


def _sealed(given: Inputs) -> dict[str, Any]:
    key = PrivateKey(bytes.fromhex(given["seed"]), SuiteId(given["suite"]))
    return told(key.open(given["header"], unb64(given["box"])))


def _wrapped(given: Inputs) -> dict[str, Any]:
    return told(unwrap(bytes.fromhex(given["key"]), given["header"], unb64(given["box"])))


def _envelope(given: Inputs) -> dict[str, Any]:
    seed = SectionSeed(given["section"], given["epoch"], bytes.fromhex(given["section_seed"]))
    if 1 not in _genuine([(given["envelope"], given["writer_public_key"]), *given.get("later", [])]):
        raise Tampered("the signature of a stored envelope is wrong")
    box = read_envelope(unb64(given["envelope"])).box
    operations = open_envelope(given["vault"], box, seed, given["writer"], given["number"])
    return {"lines": [line(operation).decode() for operation in operations]}


def _genuine(envelopes: Sequence[Sequence[str]]) -> set[int]:
    """Which of these are their writers' own, at the positions from 1 on. Beside each is its writer's public key."""
    found, authors = {}, dict[str, Certificate]()
    for position, (envelope, public) in enumerate(envelopes, 1):
        made = found[position] = read_envelope(unb64(envelope))
        by, key = made.claim.writer, bytes.fromhex(public)
        authors[by] = Certificate(writer=by, source="", public=key, sections=frozenset(), first=1)
    return genuine(found, authors, {one.claim.section for one in found.values()})


def _previous(given: Inputs) -> dict[str, Any]:
    """The link that a writer names, from what its ledger kept."""
    writer = Writer("", bytes.fromhex(given["writer_seed"]))
    return {"previous": previous(bytes.fromhex(given["last"]), writer).hex()}


def _epochs(given: Inputs) -> dict[str, Any]:
    """The signed list, the public keys that it names, and under which epoch each of some log positions is."""
    row = Vault(
        id=given["vault"],
        verification_key=b"",
        epoch=given["epoch"],
        epochs=given["text"].encode(),
        epochs_signature=bytes.fromhex(given["signature"]),
    )
    listed = epochs.read(row, bytes.fromhex(given["verification_key"]))
    keys = unb64(given["keys"])
    return {
        "epochs": [listed.at(position) for position in given["asked"]],
        "keys_are_the_ones": hashlib.sha256(keys).hexdigest() == listed.keys,
        "keys": {id_: hashlib.sha256(raw).hexdigest() for id_, raw in epochs.unpacked(keys).items()},
    }


def _before(given: Inputs) -> dict[str, Any]:
    """The seed of the epoch before, from the newer one's."""
    seed = SectionSeed(given["section"], given["epoch"], bytes.fromhex(given["section_seed"]))
    made = epochs.before(given["vault"], seed, epochs.unpacked(unb64(given["earlier"]))[given["section"]])
    return {"epoch": made.epoch, "section_seed": made.seed.hex()}


def _numbers(given: Inputs) -> dict[str, Any]:
    """Which of these envelopes, [writer, section, number] at the positions from 1 on, count."""
    state, counted = State(), []
    for position, (writer, section, number) in enumerate(given["envelopes"], 1):
        try:
            state.expect(writer, section, number, position)
        except Tampered:
            continue
        state.count(writer, section, number)
        counted.append(position)
    return {"counted": counted}


def _log(given: Inputs) -> dict[str, Any]:
    chain = [first_link(given["vault"])]
    for envelope in given["envelopes"]:
        chain.append(link(chain[-1], bytes.fromhex(envelope)))
    return {"chain": [value.hex() for value in chain]}


def _signed(given: Inputs) -> dict[str, Any]:
    """A mandate's or grant's certificate, or a snapshot's manifest: canonical JSON under its own prefix."""
    text = given["text"].encode()
    key, signature = bytes.fromhex(given["verification_key"]), bytes.fromhex(given["signature"])
    verify(key, signature, given["prefix"].encode() + text, "certificate")
    return {"sha256": hashlib.sha256(text).hexdigest()}


def _mandate(given: Inputs) -> dict[str, Any]:
    _signed(given)
    made = read_certificate(orjson.loads(given["text"]))
    covers = [made.covers(section, position) for section, position in given["asked"]]
    return {"writer": made.writer, "source": made.source, "public": made.public.hex(), "covers": covers}


def _snapshot(given: Inputs) -> dict[str, Any]:
    seed = SectionSeed(given["section"], given["epoch"], bytes.fromhex(given["section_seed"]))
    plaintext = unwrap(seed.snapshot_key(), given["header"], unb64(given["box"]))
    assert plaintext.hex() == given["plaintext_hex"]
    versions = [[one.position, one.writer, line(one.operation).decode()] for one, _ in read_part(plaintext)]
    return {"versions": versions, "row_sha256": hashlib.sha256(unb64(given["box"])).hexdigest()}


def _ledger_row(given: Inputs) -> dict[str, Any]:
    plaintext = unwrap(bytes.fromhex(given["key"]), given["header"], unb64(given["box"]))
    assert plaintext.hex() == given["plaintext_hex"]
    last, lines = plaintext[: len(NOTHING)], ledger.parse(plaintext[len(NOTHING) :])
    return {"last": last.hex(), "lines": {local: _ledger_line(line) for local, line in lines.items()}}


def _ledger_line(line: ledger.Line) -> list[Any]:
    return [line.tag.hex(), line.section, line.version, line.deleted, [tag.hex() for tag in line.attached]]


def _ledger_tag(given: Inputs) -> dict[str, Any]:
    books = Ledger(given["vault"], bytes.fromhex(given["source"]), bytes(32) + bytes.fromhex(given["content_key"]))
    return {"tags": [books.tag(content.encode()).hex() for content in given["contents"]]}


def _receipts(given: Inputs) -> dict[str, Any]:
    vault = given["vault"]
    rows = [
        Receipt(
            vault=vault,
            position=position,
            opening=bytes.fromhex(one["opening"]),
            number=one["number"],
            box=unb64(one["box"]),
        )
        for position, one in enumerate(given["rows"], 1)
    ]
    audit, keys = PrivateKey(bytes.fromhex(given["audit_seed"])), dict[bytes, bytes]()
    entries = [receipts.read_one(keys, vault, row, audit) for row in rows]
    heads = [first_head(vault)]
    for row in rows:
        heads.append(next_head(heads[-1], row.opening, row.number, row.box))
    return {"entries": entries, "heads": [head.hex() for head in heads]}


def _merkle(given: Inputs) -> dict[str, Any]:
    leaves = [leaf(one["vault"], one["position"], bytes.fromhex(one["head"])) for one in given["heads"]]
    roots = [merkle.tree(leaves[:size])[0].hex() for size in range(1, len(leaves) + 1)]
    return {"leaves": [one.hex() for one in leaves], "roots": roots}


def _recovery(given: Inputs) -> dict[str, Any]:
    code = parse_code(given["text"])
    key = expand(hashlib.sha256(b"PRA1/recovery" + code.encode()).digest(), "recovery")
    return {"code": code, "key": key.hex()}


class _OneObject:
    """As much of a store as one stored blob asks of it."""

    def __init__(self, stored: bytes) -> None:
        self._stored = stored

    def read(self, _: str, start: int, end: int) -> tuple[int, Iterator[bytes]]:
        return len(self._stored), iter([self._stored[start:end]])


def _blob(given: Inputs) -> dict[str, Any]:
    store: Any = _OneObject(unb64(given["stored"]))
    return told(b"".join(blob.read(store, given["vault"], blob.read_member(given["member"]))))


def _blob_at_rest(given: Inputs) -> dict[str, Any]:
    """Of a plaintext that counts up in bytes, 0 behind 255: too long to be put into a vector."""
    sealing = blob.Sealing(given["vault"], given["id"], bytes.fromhex(given["key"]))
    stored = b"".join(sealing.seal([(bytes(range(256)) * (given["size"] // 256 + 1))[: given["size"]]]))
    return {"stored_size": len(stored), "stored_sha256": hashlib.sha256(stored).hexdigest()}


class _ShredKey:
    """As much of a key service as an unlocker row asks of one."""

    def __init__(self, key: bytes, generation: int) -> None:
        self._key = key
        self._generation = generation

    def generation(self, _: str) -> int:
        return self._generation

    def unlock(self, vault: str, head: dict[str, Any], box: bytes) -> bytes:
        assert vault == head["vault"]
        return unwrap(self._key, head, box)


def unlocker_row(given: Inputs) -> Unlocker:
    """A row as it is stored, its box still empty. `parameters` is the text that the header's hash is of."""
    members = {name: given[name] for name in ("vault", "id", "kind", "created", "generation", "parameters")}
    return Unlocker(**members, label=b"", box=b"")


def _unlocker(given: Inputs) -> dict[str, Any]:
    row = unlocker_row(given)
    row.box = unb64(given["box"])
    shred = _ShredKey(bytes.fromhex(given["shred_key"]), given["key_service_generation"])
    secret = bytes.fromhex(given["secret"]) if given["kind"] == "passkey" else given["secret"]
    root = unlock(shred, row, secret)  # type: ignore[arg-type] - see above
    return {"root": root.secret.hex()}


CONSTRUCTS: dict[str, Callable[[Inputs], dict[str, Any]]] = {
    "keys": _keys,
    "ids": _ids,
    "padme": _padme,
    "sealed box": _sealed,
    "wrapped box": _wrapped,
    "envelope": _envelope,
    "previous link": _previous,
    "list of epochs": _epochs,
    "earlier seed": _before,
    "numbers": _numbers,
    "log chain": _log,
    "mandate certificate": _mandate,
    "grant certificate": _signed,
    "snapshot manifest": _signed,
    "snapshot section": _snapshot,
    "ledger row": _ledger_row,
    "ledger tag": _ledger_tag,
    "receipts": _receipts,
    "merkle roots": _merkle,
    "blob": _blob,
    "blob at rest": _blob_at_rest,
    "recovery code": _recovery,
    "unlocker": _unlocker,
}
