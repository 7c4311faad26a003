"""The two boxes: what went in comes out, for the right key and header alone."""

from __future__ import annotations

import os
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.errors import Tampered
from aggregator.vault.encoding import canonical, padme
from aggregator.vault.keys import verify
from aggregator.vault.seal import PrivateKey, SuiteId, expand, header, read_header, unwrap, wrap
from tests.weaken import weakens
from tests.weakened import Unbound, any_header

pytestmark = pytest.mark.storeless

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
HEAD = header("envelope", "vault-a", section="s1", epoch=1, writer="owner")
XWING, X25519 = PrivateKey(KEY), PrivateKey(KEY, SuiteId.X25519)
TEXT = b'{"value":0.40}'

OTHER_HEADERS = {
    "kind": HEAD | {"kind": "snapshot"},
    "vault": HEAD | {"vault": "vault-b"},
    "section": HEAD | {"section": "s2"},
    "epoch": HEAD | {"epoch": 2},
    "writer": HEAD | {"writer": "m1"},
    "format": HEAD | {"format": 1},
    "one member more": HEAD | {"name": ""},
    "one member less": {name: value for name, value in HEAD.items() if name != "epoch"},
}


@settings(max_examples=60)
@given(st.binary(max_size=5000), st.sampled_from([XWING, X25519]))
def test_what_is_sealed_opens(plaintext: bytes, key: PrivateKey) -> None:
    assert key.open(HEAD, key.public().seal(HEAD, plaintext)) == plaintext


@settings(max_examples=60)
@given(st.binary(max_size=5000), st.binary(min_size=32, max_size=32))
def test_what_is_wrapped_opens(plaintext: bytes, key: bytes) -> None:
    assert unwrap(key, HEAD, wrap(key, HEAD, plaintext)) == plaintext


@pytest.mark.parametrize("member", OTHER_HEADERS)
@pytest.mark.attack(21)
@weakens("aggregator.vault.seal", "_split", any_header)
def test_a_box_opens_only_where_its_header_is_expected(member: str) -> None:
    with pytest.raises(Tampered, match="stands where another belongs"):
        XWING.open(OTHER_HEADERS[member], XWING.public().seal(HEAD, TEXT))
    with pytest.raises(Tampered, match="stands where another belongs"):
        unwrap(KEY, OTHER_HEADERS[member], wrap(KEY, HEAD, TEXT))


@pytest.mark.parametrize("member", OTHER_HEADERS)
@pytest.mark.attack(21)
@weakens("aggregator.vault.seal", "AESGCM", Unbound)
def test_a_rewritten_header_does_not_help(member: str) -> None:
    """The header is authenticated: putting the expected one in front of another's ciphertext opens nothing."""
    other = canonical({**OTHER_HEADERS[member], "suite": 1})
    sealed = XWING.public().seal(HEAD, TEXT)
    with pytest.raises(Tampered, match="does not open with its key"):
        XWING.open(OTHER_HEADERS[member], _with_header(sealed, other))
    with pytest.raises(Tampered, match="was changed"):
        unwrap(KEY, OTHER_HEADERS[member], _with_header(wrap(KEY, HEAD, TEXT), canonical(OTHER_HEADERS[member])))


def _with_header(box: bytes, top: bytes) -> bytes:
    return box[:4] + len(top).to_bytes(2, "big") + top + box[6 + len(read_header(box)) :]


def test_another_key_opens_nothing() -> None:
    with pytest.raises(Tampered, match="does not open with its key"):
        PrivateKey(OTHER_KEY).open(HEAD, XWING.public().seal(HEAD, TEXT))
    with pytest.raises(Tampered, match="belongs to another key"):
        unwrap(OTHER_KEY, HEAD, wrap(KEY, HEAD, TEXT))


@pytest.mark.attack(11, 23)
@weakens("aggregator.vault.seal", "_split", any_header, about=(23,))
def test_a_lowered_suite_opens_nothing() -> None:
    """A box honestly sealed under suite 2, and one whose header merely says so, against a reader of suite 1."""
    weak = X25519.public().seal(HEAD, TEXT)
    with pytest.raises(Tampered, match="stands where another belongs"):
        XWING.open(HEAD, weak)
    renamed = _with_header(weak, canonical({**HEAD, "suite": 1}))
    with pytest.raises(Tampered, match="does not open with its key"):
        XWING.open(HEAD, renamed)
    with pytest.raises(Tampered, match="stands where another belongs"):
        X25519.open(HEAD, XWING.public().seal(HEAD, TEXT))


def test_another_form_is_refused() -> None:
    sealed, wrapped = XWING.public().seal(HEAD, TEXT), wrap(KEY, HEAD, TEXT)
    with pytest.raises(Tampered, match="has another form"):
        XWING.open(HEAD, wrapped)
    with pytest.raises(Tampered, match="has another form"):
        unwrap(KEY, HEAD, sealed)
    with pytest.raises(Tampered, match="no known beginning"):
        read_header(b"PRI1" + wrapped[4:])


def test_a_box_cut_off_anywhere_is_refused() -> None:
    sealed, wrapped = XWING.public().seal(HEAD, TEXT), wrap(KEY, HEAD, TEXT)
    for length in range(len(wrapped)):
        with pytest.raises(Tampered):
            unwrap(KEY, HEAD, wrapped[:length])
    for length in range(len(sealed)):
        with pytest.raises(Tampered):
            XWING.open(HEAD, sealed[:length])


def test_one_changed_byte_anywhere_is_refused() -> None:
    sealed, wrapped = XWING.public().seal(HEAD, TEXT), wrap(KEY, HEAD, TEXT)
    for at in range(len(wrapped)):
        with pytest.raises(Tampered):
            unwrap(KEY, HEAD, _flipped(wrapped, at, 0x01))
    for at in range(len(sealed)):
        with pytest.raises(Tampered):
            XWING.open(HEAD, _flipped(sealed, at, 0x80))


def _flipped(box: bytes, at: int, bits: int) -> bytes:
    return box[:at] + bytes([box[at] ^ bits]) + box[at + 1 :]


def test_the_same_thing_twice_differs_in_every_random_part() -> None:
    """Two boxes of one thing share header and, when wrapped, the key's commitment; nonce and ciphertext differ."""
    one, two = wrap(KEY, HEAD, TEXT), wrap(KEY, HEAD, TEXT)
    start = 6 + len(canonical(HEAD)) + 32
    assert one[:start] == two[:start]
    assert one[start : start + 12] != two[start : start + 12]
    assert one[start + 12 :] != two[start + 12 :]
    assert XWING.public().seal(HEAD, TEXT)[200:] != XWING.public().seal(HEAD, TEXT)[200:]


@pytest.mark.attack(32)
@weakens("aggregator.vault.seal", "padme", lambda length: length)
def test_lengths_tell_padded_sizes_alone() -> None:
    """Incompressible plaintexts of 900 to 960 bytes: the boxes' lengths are Padmé's, a few for all."""
    lengths = {len(wrap(KEY, HEAD, os.urandom(size))) for size in range(900, 961)}
    overhead = 6 + len(canonical(HEAD)) + 32 + 12 + 16
    assert all(padme(length - overhead) == length - overhead for length in lengths)
    assert len(lengths) <= 4


@pytest.mark.attack(35)
@weakens("aggregator.vault.seal.hmac", "compare_digest", lambda *_: True)
def test_one_ciphertext_never_opens_under_two_keys() -> None:
    """GCM alone would allow it. The commitment is compared first: exchanged for the other key's, the body fails."""
    box = wrap(KEY, HEAD, TEXT)
    start = 6 + len(canonical(HEAD))
    assert box[start : start + 32] == expand(KEY, "commit")
    claimed = box[:start] + expand(OTHER_KEY, "commit") + box[start + 32 :]
    with pytest.raises(Tampered, match="belongs to another key"):
        unwrap(KEY, HEAD, claimed)
    with pytest.raises(Tampered, match="was changed"):
        unwrap(OTHER_KEY, HEAD, claimed)


@pytest.mark.attack(35)
@weakens("aggregator.vault.seal.hmac", "compare_digest", lambda *_: True)
def test_a_body_that_opens_under_two_keys_is_refused_by_the_commitment() -> None:
    """Take the very case: were the body to open under both, only the commitment tells the keys apart."""
    box = wrap(KEY, HEAD, TEXT)
    start = 6 + len(canonical(HEAD))
    without = box[:start] + bytes(32) + box[start + 32 :]
    with pytest.raises(Tampered, match="belongs to another key"):
        unwrap(KEY, HEAD, without)


def test_errors_tell_the_kind_alone() -> None:
    with pytest.raises(Tampered) as caught:
        unwrap(OTHER_KEY, HEAD, wrap(KEY, HEAD, b"F32.1"))
    assert str(caught.value) == "a wrapped envelope belongs to another key"


def test_a_signature_is_of_one_key_over_one_message() -> None:
    private = Ed25519PrivateKey.from_private_bytes(KEY)
    public, signature = private.public_key().public_bytes_raw(), private.sign(b"message")
    verify(public, signature, b"message", "thing")
    other = Ed25519PrivateKey.from_private_bytes(OTHER_KEY).public_key().public_bytes_raw()
    refused = [(other, signature, b"message"), (public, signature, b"messagE"), (public, signature[:-1], b"message")]
    for case in [*refused, (public[:-1], signature, b"message")]:
        with pytest.raises(Tampered, match=re.escape("the signature of a stored thing is wrong")):
            verify(*case, "thing")
