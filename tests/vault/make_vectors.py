"""Writes `aggregator/vault/vectors`: `python -m tests.vault.make_vectors`.

Only for a new construct or a new version of the format: boxes hold random keys and nonces, so every run writes others,
and a vector that changes without the format's version is a break of what is at rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson

from aggregator.audit.receipts import Opening, Sealed
from aggregator.identity.unlockers import Argon2Parameters, _argon2, format_code, inner_header, outer_header
from aggregator.vault import epochs, ledger
from aggregator.vault.blob import Sealing
from aggregator.vault.encoding import b64, canonical
from aggregator.vault.envelope import NONE, Delete, Operation, Put, Remove, read_envelope, seal
from aggregator.vault.fold import Version
from aggregator.vault.keys import Root, SectionKey, Writer
from aggregator.vault.ledger import Line
from aggregator.vault.part import Part
from aggregator.vault.seal import PrivateKey, SuiteId, expand, header, read_header, wrap
from aggregator.vault.stream import CHUNK
from aggregator.vault.tables import SectionKeys, Vault
from aggregator.vault.vouching import last
from tests.vault.vectors import FOLDER, attempt, unlocker_row

Vector = dict[str, Any]

ROOT = Root(bytes(range(32)))
OTHER_ROOT = Root(bytes(range(1, 33)))
VAULT, OTHER_VAULT = "aaaqeayeaudaocajbifqydiob4", "bbaqeayeaudaocajbifqydiob4"
SECTION, SOURCE = "5ec7104a5ec7104a", "00112233445566778899aabbccddeeff"
SEED = ROOT.section(SECTION)
WRITER = Writer("6d616e646174652d6d616e64617465", bytes(range(2, 34)))
HEAD = header("envelope", VAULT, section=SECTION, epoch=1, writer="owner", number=7)
TEXT = '{"resourceType":"Observation","valueQuantity":{"value":0.40}}'
AT = "2026-11-21T20:30:00.000Z"
CODE = "abcdefghijklmnopqrstuvwxyz"


def vector(construct: str, title: str, inputs: dict[str, Any], expect: str = "open") -> Vector:
    """One case; what it gives is filled in by today's code, and proven by the tests ever after."""
    made = {"title": title, "construct": construct, "expect": expect, "inputs": inputs}
    return made | ({"gives": attempt(made)} if expect == "open" else {})


def all_vectors() -> Iterator[tuple[str, Vector]]:
    """(file name, vector) of every case."""
    makers = (_derived, _sealed, _wrapped, _envelopes, _epochs, _certificates, _at_rest, _blobs, _receipts, _unlockers)
    for make in makers:
        yield from make()


def _derived() -> Iterator[tuple[str, Vector]]:
    given: dict[str, Any] = {"root": ROOT.secret.hex(), "section": SECTION, "epoch": 1, "source": SOURCE}
    yield "keys", vector("keys", "every key of a vault, from its root", given)
    yield "keys-epoch-2", vector("keys", "another epoch changes the section's keys alone", given | {"epoch": 2})
    source = {"authority": "klinik-nord", "account": "erika", "source_id": "Observation/4711"}
    given = {"vault": bytes(range(16)).hex(), "id_key": ROOT.ids().key.hex()} | source
    yield "ids", vector("ids", "a vault's id, and a resource's from its source key", given)
    lengths = [0, 1, 2, 7, 8, 9, 100, 999, 1000, 1025, 65_537, 1_000_000, 1_000_000_007]
    yield "padme", vector("padme", "padded lengths", {"lengths": lengths})
    envelopes = [b"first".hex(), b"second".hex(), b"third".hex()]
    yield "log-chain", vector("log chain", "chain values from 0 on", {"vault": VAULT, "envelopes": envelopes})
    contents = [TEXT, TEXT.replace("0.40", "0.4")]
    given = {"vault": VAULT, "source": SOURCE, "content_key": ROOT.ledger_keys(bytes.fromhex(SOURCE))[32:].hex()}
    yield (
        "ledger-tag",
        vector("ledger tag", "two contents that differ in number text alone", given | {"contents": contents}),
    )


def _sealed() -> Iterator[tuple[str, Vector]]:
    def case(title: str, expect: str = "open", **change: Any) -> Vector:
        return vector("sealed box", title, given | change, expect)

    keys = {suite: PrivateKey(ROOT.secret, suite) for suite in SuiteId}
    boxes = {suite: key.public().seal(HEAD, TEXT.encode()) for suite, key in keys.items()}
    for suite in SuiteId:
        given = {"seed": ROOT.secret.hex(), "suite": int(suite), "header": HEAD, "plaintext": TEXT}
        given["box"] = b64(boxes[suite])
        yield f"sealed-suite-{suite}", case(f"sealed under suite {suite}")
        yield f"sealed-suite-{suite}-wrong-key", case("another private key", "wrong key", seed=OTHER_ROOT.secret.hex())
        yield (
            f"sealed-suite-{suite}-wrong-header",
            case("another vault", "wrong header", header=HEAD | {"vault": OTHER_VAULT}),
        )
        cut = b64(boxes[suite][:-1])
        yield f"sealed-suite-{suite}-truncated", case("the last byte is missing", "truncated", box=cut)
        yield f"sealed-suite-{suite}-changed", case("one bit is another", "changed", box=b64(flip(boxes[suite])))
    given = {
        "seed": ROOT.secret.hex(),
        "suite": 1,
        "header": HEAD,
        "plaintext": TEXT,
        "box": b64(boxes[SuiteId.X25519]),
    }
    yield "sealed-suite-lowered", case("sealed under suite 2 for a reader of suite 1", "suite lowered")
    renamed = with_header(boxes[SuiteId.X25519], canonical({**HEAD, "suite": 1}))
    yield "sealed-suite-renamed", case("the same, and the header says 1", "wrong key", box=b64(renamed))
    yield "sealed-wrong-form", case("a wrapped box", "wrong form", box=b64(wrap(ROOT.secret, HEAD, TEXT.encode())))


def _wrapped() -> Iterator[tuple[str, Vector]]:
    def case(title: str, expect: str = "open", **change: Any) -> Vector:
        return vector("wrapped box", title, given | change, expect)

    box = wrap(ROOT.secret, HEAD, TEXT.encode())
    given = {"key": ROOT.secret.hex(), "header": HEAD, "plaintext": TEXT, "box": b64(box)}
    at = 6 + len(read_header(box))
    yield "wrapped", case("wrapped under a key")
    yield "wrapped-empty", case("nothing, wrapped", plaintext="", box=b64(wrap(ROOT.secret, HEAD, b"")))
    yield "wrapped-wrong-key", case("another key", "wrong key", key=OTHER_ROOT.secret.hex())
    yield "wrapped-wrong-header", case("another section", "wrong header", header=HEAD | {"section": "0" * 16})
    other = b64(box[:at] + expand(OTHER_ROOT.secret, "commit") + box[at + 32 :])
    yield "wrapped-commitment", case("the key opens the body, but the box commits to another", "commitment", box=other)
    title = "the commitment is the reader's, the body is under another key"
    yield "wrapped-commitment-forged", case(title, "changed", key=OTHER_ROOT.secret.hex(), box=other)
    yield "wrapped-truncated", case("the last byte is missing", "truncated", box=b64(box[:-1]))
    yield "wrapped-cut-in-the-frame", case("the nonce is missing", "truncated", box=b64(box[: at + 32]))
    yield "wrapped-changed", case("one bit is another", "changed", box=b64(flip(box)))
    yield "wrapped-wrong-form", case("another beginning", "wrong form", box=b64(b"PRS1" + box[4:]))


def operations() -> list[Operation]:
    """Every operation, and a resource with the very text that a line is cut at."""
    origin = {"source": "klinik-nord", "locator": "/fhir/Basic/1"}
    resource = b'{"resourceType":"Basic","id":"%b.%b","text":",\\"resource\\":","value":0.40}'
    common: dict[str, Any] = {"resource_type": "Basic", "updated": AT, "origin": origin}
    return [
        Put(
            local="a" * 26,
            version=1,
            resource=resource % (VAULT.encode(), b"a" * 26),
            warnings=("a warning",),
            **common,
        ),
        Delete(local="b" * 26, version=2, **common),
        Remove(local="c" * 26, resource_type="Basic"),
    ]


def _envelopes() -> Iterator[tuple[str, Vector]]:
    def case(title: str, expect: str = "open", **change: Any) -> Vector:
        return vector("envelope", title, given | change, expect)

    key = SectionKey(SECTION, 1, SEED.private_key().public())
    envelope = seal(VAULT, key, WRITER, 3, operations())
    given = {
        "vault": VAULT,
        "section": SECTION,
        "epoch": 1,
        "section_seed": SEED.seed.hex(),
        "writer": WRITER.id,
        "number": 3,
        "writer_public_key": WRITER.public().hex(),
        "envelope": b64(envelope),
    }
    yield "envelope", case("a put, a delete and a remove")
    other = OTHER_ROOT.verification_key.hex()
    yield "envelope-forged-author", case("signed by another key", "signature", writer_public_key=other)
    yield "envelope-signature-changed", case("one bit of the signature", "signature", envelope=b64(flip(envelope)))
    yield "envelope-truncated", case("the signature is cut off", "signature", envelope=b64(envelope[:-64]))
    yield "envelope-other-vault", case("in another vault's log", "wrong header", vault=OTHER_VAULT)
    yield "envelope-other-epoch", case("another epoch of the section", "wrong header", epoch=2)
    yield "envelope-other-number", case("another number of its writer's", "wrong header", number=4)
    yield "envelope-other-writer", case("under another writer's name", "wrong header", writer="owner")
    yield (
        "envelope-wrong-seed",
        case("another section's seed", "wrong key", section_seed=OTHER_ROOT.section(SECTION).seed.hex()),
    )
    head = header("envelope", VAULT, section=SECTION, epoch=1, writer=WRITER.id, number=3)
    box = key.public.seal(head, b"no operations")
    link = hashlib.sha256(NONE + hashlib.sha256(box).digest()).digest()
    nonsense = box + NONE + WRITER.sign(b"PRA1/envelope" + link)
    for name, (title, changed) in _unsound().items():
        box = seal(VAULT, key, WRITER, 3, [changed])
        yield f"envelope-{name}", case(f"signed, but {title}", "no operations", envelope=b64(box))
    yield "envelope-nonsense", case("signed, but not operations", "no operations", envelope=b64(nonsense))
    yield from _vouched(key, envelope, case)


def _vouched(key: SectionKey, envelope: bytes, case: Callable[..., Vector]) -> Iterator[tuple[str, Vector]]:
    """An envelope whose signature is spoiled, with others behind it in the log: each with its writer's public key."""
    other = Writer(f"{WRITER.id}-2", bytes(range(3, 35)))
    spoiled, link, public = b64(flip(envelope)), read_envelope(envelope).link, WRITER.public().hex()
    second = seal(VAULT, key, WRITER, 4, [], link)
    third = seal(VAULT, key, WRITER, 5, [], read_envelope(second).link)

    def by(title: str, later: Sequence[tuple[bytes, str]], expect: str = "signature", first: str = spoiled) -> Vector:
        return case(title, expect, envelope=first, later=[[b64(one), key] for one, key in later])

    yield "envelope-vouched", by("its writer's next one names its link", [(second, public)], "open")
    way = [(flip(second), public), (third, public)]
    yield "envelope-vouched-on", by("the next but one vouches for the next", way, "open")
    yield "envelope-vouched-forged", by("what names it is signed by nobody", [(flip(second), public)])
    theirs = seal(VAULT, key, other, 4, [], link)
    yield "envelope-vouched-other-writer", by("another writer names it", [(theirs, other.public().hex())])
    yield "envelope-vouched-other-link", by("the next one names another", [(third, public)])
    box, named = envelope[:-96], envelope[-96:-64]
    renamed = b64(box + flip(named) + envelope[-64:])
    yield "envelope-previous-changed", by("one bit of what it names", [], first=renamed)
    yield "envelope-vouched-previous-changed", by("the same, with a next one", [(second, public)], first=renamed)
    yield "previous-link", _kept("kept by the writer itself", last(envelope))
    yield "previous-link-other-writer", _kept("kept by another writer: none", last(theirs))
    yield "previous-link-changed", _kept("another link under the writer's signature: none", flip(link) + envelope[-64:])
    yield "previous-link-nothing", _kept("before the first: none", bytes(96))


def _kept(title: str, last: bytes) -> Vector:
    return vector("previous link", title, {"writer_seed": WRITER.seed.hex(), "last": last.hex()})


def _unsound() -> dict[str, tuple[str, Operation]]:
    """Operations that no reader could do anything with."""
    put, *_ = operations()
    assert isinstance(put, Put)
    return {
        "no-instant": ("a time that is none", replace(put, updated="notadate")),
        "no-json": ("a resource that is no JSON", replace(put, resource=b"[not JSON]")),
        "other-id": ("a resource that bears another id", replace(put, local="b" * 26)),
        "other-type": ("a resource of another type", replace(put, resource_type="Patient")),
        "version-0": ("a version below 1", replace(put, version=0)),
    }


def _epochs() -> Iterator[tuple[str, Vector]]:
    row = Vault(id=VAULT, verification_key=ROOT.verification_key, log_position=41)
    named = {"first": SECTION, "second": SECTION[::-1]}
    first = epochs.found(row, ROOT, named)
    given = _listed(row, first)
    yield "epochs-first", vector("list of epochs", "a new vault's", given)
    row.log_position, row.epoch = 41, 1
    second = epochs.turned(row, ROOT, named)
    given = _listed(row, second)
    yield "epochs", vector("list of epochs", "rotated once, behind position 41", given)
    yield "epochs-put-back", vector("list of epochs", "the row says 1", given | {"epoch": 1}, "another epoch")
    forged = given | {"signature": OTHER_ROOT.sign(b"PRA1/keys" + row.epochs).hex()}
    yield "epochs-forged", vector("list of epochs", "signed by another root", forged, "signature")
    seed = ROOT.section(SECTION, 2)
    given = {"vault": VAULT, "section": SECTION, "epoch": 2, "section_seed": seed.seed.hex()}
    given |= {"earlier": b64(second.earlier)}
    yield "earlier-seed", vector("earlier seed", "the first epoch's seed from the second's", given)
    stranger = given | {"section_seed": ROOT.section(SECTION, 1).seed.hex()}
    yield "earlier-seed-wrong-seed", vector("earlier seed", "with the first epoch's", stranger, "wrong key")
    moved = given | {"vault": OTHER_VAULT}
    yield "earlier-seed-other-vault", vector("earlier seed", "in another vault", moved, "wrong header")
    rows = [["owner", SECTION, 1], [WRITER.id, SECTION, 1], [WRITER.id, SECTION, 1], ["owner", SECTION, 1]]
    rows += [[WRITER.id, SECTION[::-1], 1], [WRITER.id, SECTION, 4], [WRITER.id, SECTION, 3], ["owner", SECTION, 8]]
    title = "the owner's count at their own positions, a writer's while they rise in each section"
    yield "numbers", vector("numbers", title, {"envelopes": rows})


def _listed(row: Vault, keys: SectionKeys) -> dict[str, Any]:
    return {
        "verification_key": ROOT.verification_key.hex(),
        "vault": VAULT,
        "epoch": row.epoch,
        "text": row.epochs.decode(),
        "signature": row.epochs_signature.hex(),
        "keys": b64(keys.keys),
        "asked": [1, 41, 42, 1000],
    }


def _certificates() -> Iterator[tuple[str, Vector]]:
    mandate = {
        "kind": "mandate",
        "vault": VAULT,
        "mandate": WRITER.id,
        "writer": b64(WRITER.public()),
        "sections": [SECTION],
        "source": SOURCE,
        "from": 5,
        "body": hashlib.sha256(b"body").hexdigest(),
    }
    asked = [[SECTION, 4], [SECTION, 5], ["0" * 16, 5]]
    yield from _certificate("mandate certificate", "PRA1/mandate", mandate, asked=asked)
    yield from _other_mandates(mandate, asked)
    grant = {
        "kind": "grant",
        "vault": VAULT,
        "grant": "67" * 16,
        "version": 3,
        "grantee": b64(bytes(16)),
        "body": hashlib.sha256(b"payload").hexdigest(),
    }
    yield from _certificate("grant certificate", "PRA1/grant", grant)
    manifest = {
        "kind": "snapshot",
        "vault": VAULT,
        "position": 7,
        "chain": b64(bytes(32)),
        "sections": {SECTION: ["00" * 32, "22" * 32], SECTION[::-1]: []},
        "epochs": {SECTION: 1, SECTION[::-1]: 1},
        "refused": {"3": "11" * 32},
        "numbers": {WRITER.id: {SECTION: 3}},
    }
    yield from _certificate("snapshot manifest", "PRA1/snapshot", manifest)


def _other_mandates(mandate: dict[str, Any], asked: list[list[Any]]) -> Iterator[tuple[str, Vector]]:
    """Signed by the root as well: one that has ended, and such as would give more than a source may have."""
    construct, prefix = "mandate certificate", "PRA1/mandate"
    ended = _signed(prefix, mandate | {"until": 6}) | {"asked": [*asked, [SECTION, 6], [SECTION, 7]]}
    yield "mandate-certificate-ended", vector(construct, "the same mandate, ended at position 6", ended)
    nobodys = _signed(prefix, {name: told for name, told in mandate.items() if name != "source"}) | {"asked": asked}
    yield "mandate-certificate-without-source", vector(construct, "for no source", nobodys, "no source")
    owners = _signed(prefix, mandate | {"source": "owner"}) | {"asked": asked}
    yield "mandate-certificate-owner", vector(construct, "for the owner in a source's place", owners, "no source")


def _signed(prefix: str, stated: dict[str, Any]) -> dict[str, Any]:
    text = canonical(stated)
    return {
        "verification_key": ROOT.verification_key.hex(),
        "prefix": prefix,
        "text": text.decode(),
        "signature": ROOT.sign(prefix.encode() + text).hex(),
    }


def _certificate(construct: str, prefix: str, stated: dict[str, Any], **more: Any) -> Iterator[tuple[str, Vector]]:
    name, text = construct.replace(" ", "-"), canonical(stated)
    given = _signed(prefix, stated) | more
    yield name, vector(construct, f"a {construct}, signed by the root", given)
    forged = given | {"signature": OTHER_ROOT.sign(prefix.encode() + text).hex()}
    yield f"{name}-forged", vector(construct, "signed by another root", forged, "signature")
    other = given | {"text": text.decode().replace(VAULT, OTHER_VAULT)}
    yield f"{name}-other-vault", vector(construct, "the text was changed", other, "signature")
    moved = given | {"signature": ROOT.sign(b"PRA1/heads" + text).hex()}
    yield f"{name}-other-kind", vector(construct, "signed as something else", moved, "signature")


def _at_rest() -> Iterator[tuple[str, Vector]]:
    put, delete, _ = operations()
    newer = [(4, "owner", put), (5, SOURCE, put), (7, SOURCE, delete)]
    part = Part()
    for position, writer, operation in newer:
        part.add(Version(position, writer, operation))
    text = part.text()
    head = header("snapshot", VAULT, section=SECTION, epoch=1, name="0")
    given = {
        "section": SECTION,
        "epoch": 1,
        "section_seed": SEED.seed.hex(),
        "header": head,
        "plaintext_hex": text.hex(),
    }
    given["box"] = b64(wrap(SEED.snapshot_key(), head, text))
    yield "snapshot-section", vector("snapshot section", "current versions and history together", given)
    changed = given | {"section_seed": OTHER_ROOT.section(SECTION).seed.hex()}
    yield "snapshot-section-wrong-seed", vector("snapshot section", "another seed", changed, "wrong key")
    moved = given | {"header": head | {"name": "1"}}
    yield "snapshot-section-other-part", vector("snapshot section", "in another part's row", moved, "wrong header")
    head = header("ledger", VAULT, name=SOURCE)
    lines = {
        "a" * 26: Line(b"tag-of-3", SECTION, 3, attached=(b"binary-0",)),
        "b" * 25 + "a": Line(b"tag-of-2", SECTION, 2, deleted=True),
    }
    text, key = bytes(range(96)) + ledger.text(lines), ROOT.ledger_keys(bytes.fromhex(SOURCE))[:32]
    given = {"key": key.hex(), "header": head, "plaintext_hex": text.hex(), "box": b64(wrap(key, head, text))}
    yield "ledger-row", vector("ledger row", "two lines of a ledger, one ended", given)
    moved = given | {"header": head | {"name": "0" * 32}}
    yield "ledger-row-other-source", vector("ledger row", "in another source's row", moved, "wrong header")


def _receipts() -> Iterator[tuple[str, Vector]]:
    opening = Opening(VAULT, ROOT.audit.public())
    made = [opening.first({"kind": "opened"}), *(opening.next({"kind": "answered", "shown": n}, None) for n in (3, 0))]
    given = {"vault": VAULT, "audit_seed": expand(ROOT.secret, "audit").hex(), "rows": [_row(one) for one in made]}
    yield "receipts", vector("receipts", "an opening, two answers, and the chain's heads", given)
    swapped = given | {"rows": [_row(made[0]), _row(made[2]) | {"number": 1}]}
    yield "receipts-other-number", vector("receipts", "an answer under another number", swapped, "changed")
    yield (
        "receipts-other-vault",
        vector("receipts", "in another vault's chain", given | {"vault": OTHER_VAULT}, "wrong header"),
    )
    stranger = given | {"audit_seed": expand(OTHER_ROOT.secret, "audit").hex()}
    yield "receipts-wrong-key", vector("receipts", "another owner", stranger, "wrong key")
    heads = [{"vault": VAULT, "position": n, "head": f"{n:064x}"} for n in range(1, 6)]
    yield (
        "merkle-roots",
        vector("merkle roots", "the leaves, and the roots over the first one to five", {"heads": heads}),
    )


def _row(sealed: Sealed) -> dict[str, Any]:
    return {"opening": sealed.opening.hex(), "number": sealed.number, "box": b64(sealed.box)}


def _blobs() -> Iterator[tuple[str, Vector]]:
    """Nonces are counted and the key is given, so these are the same whenever they are made."""
    sealing = Sealing(VAULT, "b5" * 13, bytes(range(4, 36)))
    stored, member = b"".join(sealing.seal([TEXT.encode()])), sealing.blob().member()
    given: dict[str, Any] = {"vault": VAULT, "member": member, "stored": b64(stored), "plaintext": TEXT}

    def case(title: str, expect: str, **change: Any) -> Vector:
        return vector("blob", title, given | change, expect)

    yield "blob", vector("blob", "one chunk", given)
    yield "blob-other-vault", case("in another vault", "elsewhere", vault=OTHER_VAULT)
    yield "blob-other-id", case("under another id", "elsewhere", member=member | {"id": "c5" * 13})
    yield "blob-wrong-key", case("with another key", "elsewhere", member=member | {"key": b64(bytes(32))})
    yield "blob-changed", case("the last bit changed", "changed", stored=b64(flip(stored)))
    yield "blob-truncated", case("without its last byte", "truncated", stored=b64(stored[:-1]))
    yield "blob-appended", case("with a byte behind it", "truncated", stored=b64(stored + b"x"))
    for size in (0, CHUNK, CHUNK + 1, 5 * CHUNK + 7):
        at_rest = {"vault": VAULT, "id": "b5" * 13, "key": bytes(range(4, 36)).hex(), "size": size}
        yield f"blob-at-rest-{size}", vector("blob at rest", f"{size} bytes, as they lie", at_rest)


def _unlockers() -> Iterator[tuple[str, Vector]]:
    text = format_code(CODE)
    yield "recovery-code", vector("recovery code", "a code as it is shown, and its key", {"text": text})
    slip = text[:10] + ("2" if text[10] != "2" else "3") + text[11:]
    yield "recovery-code-slip", vector("recovery code", "a slip in the second group", {"text": slip}, "slip")
    prf = bytes(range(4, 36)).hex()
    code = attempt({"construct": "recovery code", "inputs": {"text": text}})["key"]
    for kind, secret, parameters, key in (
        ("password", "Grüße an Käthe", PARAMETERS, _argon2("Grüße an Käthe", bytes(16), Argon2Parameters())),
        ("recovery", text, {}, bytes.fromhex(code)),
        ("passkey", prf, PASSKEY, expand(bytes.fromhex(prf), "passkey")),
    ):
        given = _locked({"kind": kind, "secret": secret, "parameters": canonical(parameters).decode()}, key)
        yield f"unlocker-{kind}", vector("unlocker", f"the root by {kind}", given)
        destroyed = given | {"shred_key": bytes(32).hex()}
        yield f"unlocker-{kind}-without-shred-key", vector("unlocker", "another shred key", destroyed, "wrong key")
        if kind == "password":
            yield from _weakened(given)
    yield (
        "unlocker-replaced",
        vector("unlocker", "one went", given | {"key_service_generation": 4}, "replaced"),
    )
    other = given | {"parameters": given["parameters"].replace("Y3JlZA==", "Y3JlZg==")}
    yield "unlocker-other-parameters", vector("unlocker", "another passkey's parameters", other, "wrong header")
    other = given | {"generation": 4, "key_service_generation": 4}
    yield "unlocker-other-generation", vector("unlocker", "carried on without the shred key", other, "wrong header")


SHRED = bytes(range(3, 35))
PARAMETERS: dict[str, Any] = {"memory_kib": 65536, "iterations": 3, "lanes": 4, "salt": bytes(16).hex()}
PASSKEY: dict[str, Any] = {"credential": "Y3JlZA==", "public": "Y29zZQ==", "rp": "akte.example"}


def _locked(given: dict[str, Any], key: bytes) -> dict[str, Any]:
    """The rest of an unlocker's row, in both locks."""
    given = {"vault": VAULT, "id": "0011223344556677", "created": 1_795_293_000, "generation": 3} | given
    row = unlocker_row(given)
    box = wrap(SHRED, outer_header(row), wrap(key, inner_header(row), ROOT.secret))
    return given | {"shred_key": SHRED.hex(), "key_service_generation": 3, "box": b64(box)}


def _weakened(given: dict[str, Any]) -> Iterator[tuple[str, Vector]]:
    yield "unlocker-wrong-password", vector("unlocker", "another password", given | {"secret": "x" * 12}, "wrong key")
    decomposed = given | {"secret": "Gru\u0308ße an Ka\u0308the"}
    yield "unlocker-password-decomposed", vector("unlocker", "the same password, typed elsewhere", decomposed)
    for name, low in (("memory_kib", 65535), ("iterations", 2), ("lanes", 3)):
        lowered = {"kind": "password", "secret": given["secret"]}
        lowered["parameters"] = canonical(PARAMETERS | {name: low}).decode()
        title, expect = f"{name} of {low} in the row", "below the Argon2 floor"
        made = vector("unlocker", title, _locked(lowered, bytes(32)), expect)
        yield f"unlocker-{name.replace('_', '-')}-lowered", made


def with_header(box: bytes, top: bytes) -> bytes:
    """The box with another header before the same rest."""
    return box[:4] + len(top).to_bytes(2, "big") + top + box[6 + len(read_header(box)) :]


def flip(box: bytes) -> bytes:
    """The box with the lowest bit of its last byte changed."""
    return box[:-1] + bytes([box[-1] ^ 1])


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, made in all_vectors():
        (FOLDER / f"{name}.json").write_bytes(orjson.dumps(made, option=orjson.OPT_INDENT_2) + b"\n")


if __name__ == "__main__":
    main()
