"""The master key in a PKCS#11 token (an HSM): it wraps the ring's row key there and never leaves it.

https://docs.oasis-open.org/pkcs11/pkcs11-spec/v3.1/pkcs11-spec-v3.1.html

A box is `"PRT1" || the key's CKA_ID (16 bytes) || nonce (12) || AES-256-GCM(row key)`. Needs the extra `pkcs11`.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from aggregator.config import TokenSettings
from aggregator.errors import OperatorError, Tampered
from aggregator.vault import key_files

_MAGIC = b"PRT1"
_ID, _NONCE, _TAG_BITS = 16, 12, 128
_AAD = b"PRA1/row"


class TokenKey:
    """The AES-256 key with this label. `create` draws one where there is none."""

    def __init__(self, settings: TokenSettings, session: Any = None) -> None:
        """Raises OperatorError for a module, token or PIN that is wrong."""
        self._settings = settings
        self._lock = threading.Lock()
        self._session = session or _session(settings)
        self._id = b""
        self._former = b""

    def wrap(self, key: bytes) -> bytes:
        with self._lock:
            if not self._id:
                self._id = self._draw()
            nonce = os.urandom(_NONCE)
            made = self._key(self._id).encrypt(key, mechanism=_gcm(), mechanism_param=_parameters(nonce))
        return _MAGIC + self._id + nonce + bytes(made)

    def unwrap(self, box: bytes) -> bytes:
        magic, rest = box[: len(_MAGIC)], box[len(_MAGIC) :]
        if magic != _MAGIC:
            raise Tampered("the row key lies under another kind of master key")
        identity, nonce, sealed = rest[:_ID], rest[_ID : _ID + _NONCE], rest[_ID + _NONCE :]
        from pkcs11.exceptions import PKCS11Error

        with self._lock:
            try:
                opened = self._key(identity).decrypt(sealed, mechanism=_gcm(), mechanism_param=_parameters(nonce))
            except PKCS11Error:
                raise Tampered("the token does not open the row key") from None
            self._id = identity
        return bytes(opened)

    def successor(self) -> TokenKey:
        """Another key in the same token."""
        made = TokenKey(self._settings, self._session)
        made._former = self._id
        return made

    def settle(self) -> None:
        """The key before goes. One that a crash left behind stays: nothing lies under it."""
        if self._former:
            with self._lock:
                self._key(self._former).destroy()
                self._former = b""

    def _draw(self) -> bytes:
        from pkcs11 import Attribute, KeyType

        identity = os.urandom(_ID)
        self._session.generate_key(
            KeyType.AES,
            256,
            id=identity,
            label=self._settings.label,
            store=True,
            template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
        )
        return identity

    def _key(self, identity: bytes) -> Any:
        from pkcs11 import ObjectClass

        return self._session.get_key(object_class=ObjectClass.SECRET_KEY, label=self._settings.label, id=identity)


def _session(settings: TokenSettings) -> Any:
    try:
        import pkcs11
        from pkcs11.exceptions import PKCS11Error, UserAlreadyLoggedIn
    except ImportError:
        raise OperatorError("keys.pkcs11: python-pkcs11 is not installed; install the extra pkcs11") from None
    pin = Path(settings.pin_file)
    if not settings.label or not pin.is_file():
        raise OperatorError("keys.pkcs11: label and pin_file (a file with the user PIN, mode 0600) are needed")
    key_files.refuse_open_to_others(pin)
    try:
        token = pkcs11.lib(settings.module).get_token(token_label=settings.token)
        try:
            return token.open(user_pin=pin.read_text().strip(), rw=True)
        except UserAlreadyLoggedIn:  # a login is the process's
            return token.open(rw=True)
    except (PKCS11Error, RuntimeError) as error:
        told = f"keys.pkcs11: the token {settings.token} does not open ({type(error).__name__})"
        raise OperatorError(f"{told}; check module, token and pin_file") from None


def _gcm() -> Any:
    from pkcs11 import Mechanism

    return Mechanism.AES_GCM


def _parameters(nonce: bytes) -> Any:
    from pkcs11 import GCMParams

    return GCMParams(nonce, _AAD, _TAG_BITS)
