"""A vault's keys as FORMAT.md section 2 spells them out, and what of them is ever printed."""

from __future__ import annotations

import base64
import hmac
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from aggregator.errors import Tampered
from aggregator.vault import keys
from aggregator.vault.keys import (
    Certificate,
    IdKey,
    Inherited,
    Root,
    SectionSeed,
    Writer,
    handle,
    new_section_id,
    new_vault_id,
    read_certificate,
    verify,
)
from aggregator.vault.seal import PrivateKey

pytestmark = pytest.mark.storeless

SECRET = bytes(range(32))
SOURCE = bytes(range(100, 116))
HEIRLOOM = Inherited(ids=b"i" * 32, tag=b"t" * 32, content={SOURCE.hex(): b"c" * 32}, audit=(b"a" * 32,))


def expand(key: bytes, label: str, size: int = 32) -> bytes:
    """HKDF-Expand with SHA-256 (RFC 5869), by hand."""
    made, block = b"", b""
    for counter in range(1, 1 + -(-size // 32)):
        block = hmac.digest(key, block + b"PRA1/" + label.encode() + bytes([counter]), "sha256")
        made += block
    return made[:size]


def ed25519(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def test_what_is_derived_is_what_the_format_says() -> None:
    root = Root(SECRET)
    assert root.verification_key == ed25519(expand(SECRET, "sign"))
    assert root.section("ab", 7).seed == expand(SECRET, "section/ab/7")
    assert root.section("ab") == SectionSeed("ab", 1, expand(SECRET, "section/ab/1"))
    assert root.section("ab").snapshot_key() == expand(expand(SECRET, "section/ab/1"), "snapshot")
    assert root.ids() == IdKey(expand(SECRET, "id"))
    assert root.tag_key() == expand(SECRET, "tag")
    assert root.ledger_keys(SOURCE) == expand(SECRET, f"ledger/{SOURCE.hex()}", 64)
    assert root.owner_key() == expand(SECRET, "owner")
    assert root.image_key() == expand(SECRET, "image")
    assert root.audit_seed() == expand(SECRET, "audit")
    assert root.audit.public().raw == PrivateKey(expand(SECRET, "audit")).public().raw


def test_a_handle_is_the_first_half_of_an_hmac() -> None:
    expected = hmac.digest(SECRET, b"a\0b\0\xc3\xa4", "sha256")[:16]
    assert handle(SECRET, "a", "b", "ä") == expected
    local = base64.b32encode(hmac.digest(SECRET, b"k\0e\0O/1", "sha256")[:16]).decode().lower().rstrip("=")
    assert IdKey(SECRET).local("k", "e", "O/1") == local
    root = Root(SECRET)
    assert root.source("k", "e") == hmac.digest(root.tag_key(), b"source\0k\0e", "sha256")[:16]


def test_a_root_signs_under_its_verification_key() -> None:
    root = Root(SECRET)
    Ed25519PublicKey.from_public_bytes(root.verification_key).verify(root.sign(b"message"), b"message")
    verify(root.verification_key, root.sign(b"message"), b"message", "thing")


@pytest.mark.parametrize("wrong", ["key", "length of the key", "signature", "length of the signature", "message"])
def test_what_does_not_verify_is_named(wrong: str) -> None:
    public, signature, message = Root(SECRET).verification_key, Root(SECRET).sign(b"m"), b"m"
    match wrong:
        case "key":
            public = ed25519(bytes(32))
        case "length of the key":
            public = public[:-1]
        case "signature":
            signature = bytes([signature[0] ^ 1]) + signature[1:]
        case "length of the signature":
            signature += b"\0"
        case _:
            message = b"n"
    with pytest.raises(Tampered, match="the signature of a stored thing is wrong"):
        verify(public, signature, message, "thing")


def test_ids_are_random_and_of_their_length() -> None:
    assert all(re.fullmatch("[a-z2-7]{26}", new_vault_id()) for _ in range(20))
    assert all(re.fullmatch("[0-9a-f]{16}", new_section_id()) for _ in range(20))
    assert len({new_vault_id() for _ in range(20)}) == len({new_section_id() for _ in range(20)}) == 20


def test_a_section_has_one_key_pair() -> None:
    seed = Root(SECRET).section("ab")
    assert seed.private_key() is seed.private_key()
    assert seed.private_key().public().raw == PrivateKey(seed.seed).public().raw


# --- what was inherited


def test_an_heir_keeps_what_ids_and_tags_are_made_of_and_nothing_else() -> None:
    root = Root(SECRET)
    heir = root.heir(HEIRLOOM)
    assert (heir.secret, heir.inherited, root.inherited) == (SECRET, HEIRLOOM, None)
    assert heir.ids() == IdKey(b"i" * 32)
    assert heir.tag_key() == b"t" * 32
    assert heir.source("k", "e") == hmac.digest(b"t" * 32, b"source\0k\0e", "sha256")[:16]
    assert heir.ledger_keys(SOURCE) == root.ledger_keys(SOURCE)[:32] + b"c" * 32
    assert heir.ledger_keys(b"another") == root.ledger_keys(b"another")
    assert heir.verification_key == root.verification_key
    assert heir.section("ab") == root.section("ab")
    assert heir.audit_seed() == root.audit_seed()


def test_who_inherits_nothing_is_as_before() -> None:
    root = Root(SECRET)
    assert root.heir(None) is root
    assert Inherited(b"", b"", {}).audit == ()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_root_of_another_length_is_none(size: int) -> None:
    with pytest.raises(ValueError, match="a vault root has 32 bytes"):
        Root(bytes(size))


def test_new_roots_and_writers_are_random() -> None:
    assert len({Root.generate().secret for _ in range(5)}) == len({Writer.generate("w").seed for _ in range(5)}) == 5
    assert {len(Root.generate().secret), len(Writer.generate("w").seed)} == {32}
    assert Writer.generate("w").id == "w"


def test_the_names_of_the_two_authors_without_a_mandate() -> None:
    assert (keys.OWNER, keys.IMPORTED) == ("owner", "import")
    owner = Writer.owner(Root(SECRET))
    assert owner == Writer("owner", expand(SECRET, "sign"))
    assert owner.public() == ed25519(owner.seed)
    verify(owner.public(), owner.sign(b"m"), b"m", "thing")


# --- certificates

ROW = {
    "mandate": "m1",
    "writer": base64.b64encode(b"public").decode(),
    "sections": ["s1", "s2"],
    "source": SOURCE.hex(),
    "from": 5,
}
CERTIFICATE = Certificate(writer="m1", source=SOURCE.hex(), public=b"public", sections=frozenset({"s1", "s2"}), first=5)


def test_a_certificate_is_read_as_it_was_signed() -> None:
    assert read_certificate(ROW) == CERTIFICATE
    assert CERTIFICATE.last is None
    ended = read_certificate(ROW | {"until": 9})
    assert (ended.first, ended.last) == (5, 9)


@pytest.mark.parametrize("sections", [None, "s1", {"s1": 1}])
def test_a_certificate_without_a_list_of_sections_is_none(sections: object) -> None:
    with pytest.raises(Tampered, match="a stored mandate has no sections"):
        read_certificate(ROW | {"sections": sections})


@pytest.mark.parametrize("source", ["owner", "", SOURCE.hex()[1:], SOURCE.hex() + "0", SOURCE.hex().replace("6", "G")])
def test_a_certificate_for_what_is_no_handle_is_none(source: str) -> None:
    with pytest.raises(Tampered, match="a stored mandate names no source"):
        read_certificate(ROW | {"source": source})
    with pytest.raises(Tampered, match="a stored mandate names no source"):
        read_certificate({name: value for name, value in ROW.items() if name != "source"})


def test_a_certificate_covers_its_sections_and_positions() -> None:
    ended = read_certificate(ROW | {"until": 9})
    for one, covered in ((CERTIFICATE, range(5, 12)), (ended, range(5, 10))):
        for section in ("s1", "s2", "s3"):
            found = [position for position in range(3, 12) if one.covers(section, position)]
            assert found == ([] if section == "s3" else list(covered))


# --- secrets


def test_no_secret_is_printed() -> None:
    told = (
        repr(SectionSeed("ab", 1, b"S" * 32)),
        repr(IdKey(b"S" * 32)),
        repr(Writer("w", b"S" * 32)),
        repr(Inherited(ids=b"S", tag=b"S", content={"h": b"S"}, audit=(b"S",))),
        repr(Root(b"S" * 32)),
    )
    assert not any("b'S" in one for one in told)
    assert told[:4] == (
        "SectionSeed(id='ab', epoch=1)",
        "IdKey()",
        "Writer(id='w')",
        "Inherited()",
    )
