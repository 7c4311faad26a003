"""Passkeys: WebAuthn with the PRF extension. https://www.w3.org/TR/webauthn-3/ (sections 7.1, 7.2, 10.1.4)

The assertion says that the authenticator is there and its user verified; the PRF's output is the secret that opens. It
comes with the assertion, over TLS, as a password does, and like one it is never logged and never stored.

Every passkey is discoverable and every one is asked with the same salt, so the options name no credential and are the
same for everybody: whether a login exists, or has a passkey, is not told. A challenge is not stored until it was used.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, update
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, options_to_json_dict
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from aggregator.errors import SignInFailed, Tampered
from aggregator.identity.tables import Passkey, Unlocker
from aggregator.identity.unlockers import PRF_BYTES
from aggregator.identity.used_once import TOKENS, note_use
from aggregator.vault.encoding import b64, canonical, unb64
from aggregator.vault.key_service import KeyService
from aggregator.vault.store import Store
from connectors.contract import Clock

SIGN_IN = "sign-in"
_LIFE = 300  # seconds a challenge may be answered in
_REFUSED = "the passkey was not accepted"
# What the library, CBOR and base64 raise on bytes of somebody's choice.
_UNREADABLE = (WebAuthnException, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)

Credential = Mapping[str, Any]
"""What a browser's `PublicKeyCredential.toJSON()` gives."""


@dataclass(frozen=True, slots=True)
class Asserted:
    """A passkey that was there, and what its PRF gave. sign_count: how often it says it was used."""

    challenge: bytes
    sign_count: int
    prf: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Registered:
    """A new passkey. parameters: what its unlocker's row says of it, as JSON."""

    credential: bytes
    parameters: str
    asserted: Asserted


class Passkeys:
    """The relying party of one installation. base_url: its origin; the host in it is the relying party's id."""

    def __init__(self, store: Store, key_service: KeyService, clock: Clock, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._store = store
        self._key_service = key_service
        self._clock = clock
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._rp = parts.hostname or ""

    def creation(self, vault: str, session: str, label: str, known: Sequence[Unlocker]) -> dict[str, Any]:
        """Options for a new passkey, and for showing at once that it opens. Bound to the owner's session."""
        options = generate_registration_options(
            rp_id=self._rp,
            rp_name=self._rp,
            user_id=self._key_service.handle("passkey-user", vault),
            user_name=label or self._rp,
            challenge=self._challenge(f"create/{session}"),
            timeout=_LIFE * 1000,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                require_resident_key=True,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=_stored(row)[0]) for row in known],
        )
        told = options_to_json_dict(options) | {"extensions": self._prf()}
        return {"create": told, "get": self.request(f"prove/{session}")}

    def request(self, purpose: str = SIGN_IN) -> dict[str, Any]:
        """Options for using a passkey: the same for everybody but for the challenge."""
        options = generate_authentication_options(
            rp_id=self._rp,
            challenge=self._challenge(purpose),
            timeout=_LIFE * 1000,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return options_to_json_dict(options) | {"extensions": self._prf()}

    def registered(self, registration: Credential, assertion: Credential, session: str) -> Registered:
        """A new passkey that was used once, in this session. Raises SignInFailed."""
        try:
            challenge = self._answered(registration, f"create/{session}")
            made = verify_registration_response(
                credential=dict(registration),
                expected_challenge=challenge,
                expected_rp_id=self._rp,
                expected_origin=self._origin,
                require_user_verification=True,
            )
        except _UNREADABLE:
            raise SignInFailed(_REFUSED) from None
        stated = {"credential": b64(made.credential_id), "public": b64(made.credential_public_key), "rp": self._rp}
        asserted = self._verified(
            assertion, f"prove/{session}", made.credential_id, made.credential_public_key, made.sign_count
        )
        return Registered(made.credential_id, canonical(stated).decode(), asserted)

    def asserted(self, assertion: Credential, row: Unlocker, sign_count: int) -> Asserted:
        """Check an assertion for signing in against its unlocker's row, already told genuine. Raises SignInFailed."""
        credential, public, rp = _stored(row)
        if rp != self._rp:
            raise SignInFailed(_REFUSED)
        return self._verified(assertion, SIGN_IN, credential, public, sign_count)

    def use(self, asserted: Asserted, credential: bytes) -> None:
        """A challenge is used once, and a passkey's count only rises, before its secret is. Raises SignInFailed."""
        now = int(self._clock().timestamp())
        here, count = col(Passkey.credential) == self.handle(credential), col(Passkey.sign_count)
        rises = (count < asserted.sign_count) | ((count == 0) & (asserted.sign_count == 0))
        try:
            with self._store.write(TOKENS) as session:
                handle = self._key_service.handle("challenge-used", asserted.challenge.hex())
                note_use(session, handle, expires=now + _LIFE + 1, now=now)
                moved = session.exec(update(Passkey).where(here, rises).values(sign_count=asserted.sign_count))
                if moved.rowcount != 1:
                    raise SignInFailed(_REFUSED)
        except IntegrityError:
            raise SignInFailed(_REFUSED) from None

    def handle(self, credential: bytes) -> bytes:
        """What a passkey is found by."""
        return self._key_service.handle("passkey", credential.hex())

    def _verified(
        self, assertion: Credential, purpose: str, credential: bytes, public: bytes, sign_count: int
    ) -> Asserted:
        try:
            if credential_id(assertion) != credential:
                raise SignInFailed(_REFUSED)
            challenge = self._answered(assertion, purpose)
            verified = verify_authentication_response(
                credential=dict(assertion),
                expected_challenge=challenge,
                expected_rp_id=self._rp,
                expected_origin=self._origin,
                credential_public_key=public,
                credential_current_sign_count=sign_count,
                require_user_verification=True,
            )
            secret = base64url_to_bytes(assertion["clientExtensionResults"]["prf"]["results"]["first"])
        except _UNREADABLE:
            raise SignInFailed(_REFUSED) from None
        if len(secret) != PRF_BYTES:
            raise SignInFailed(_REFUSED)
        return Asserted(challenge, verified.new_sign_count, secret)

    def _challenge(self, purpose: str) -> bytes:
        """32 bytes: 12 random ones, when they expire, and 16 that say for what and by whom they were made."""
        start = os.urandom(12) + struct.pack(">I", int(self._clock().timestamp()) + _LIFE)
        return start + self._made(start, purpose)

    def _answered(self, credential: Credential, purpose: str) -> bytes:
        """The challenge that is answered: ours, for this purpose, and not too old. Raises ValueError and the like."""
        told = orjson.loads(base64url_to_bytes(credential["response"]["clientDataJSON"]))
        challenge = base64url_to_bytes(told["challenge"])
        start, now = challenge[:16], self._clock().timestamp()
        if not hmac.compare_digest(challenge[16:], self._made(start, purpose)):
            raise ValueError("another challenge")
        if not now < struct.unpack(">I", start[12:])[0] <= now + _LIFE:
            raise ValueError("an old challenge")
        return challenge

    def _made(self, start: bytes, purpose: str) -> bytes:
        return self._key_service.handle("challenge", purpose, self._origin, start.hex())

    def _prf(self) -> dict[str, Any]:
        return {"prf": {"eval": {"first": bytes_to_base64url(prf_salt(self._rp))}}}


def prf_salt(rp: str) -> bytes:
    """What every passkey's PRF is asked with. No secret: each credential has a key of its own under it."""
    return hashlib.sha256(b"PRA1/prf/" + rp.encode()).digest()


def credential_id(assertion: Credential) -> bytes:
    """Which passkey an assertion says it is. Raises SignInFailed."""
    try:
        return base64url_to_bytes(assertion["rawId"])
    except _UNREADABLE:
        raise SignInFailed(_REFUSED) from None


def _stored(row: Unlocker) -> tuple[bytes, bytes, str]:
    """(credential id, COSE public key, relying party) of a passkey's row. Raises Tampered."""
    try:
        stored = orjson.loads(row.parameters)
        return unb64(stored["credential"]), unb64(stored["public"]), str(stored["rp"])
    except (ValueError, LookupError, TypeError):
        raise Tampered("a stored passkey's parameters cannot be read") from None
