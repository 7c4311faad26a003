"""Ways to the vault root: a password and a recovery code (FORMAT.md section 4). Each wraps the root alone."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import unicodedata
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

import orjson
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from aggregator.errors import CallerError, Tampered
from aggregator.identity.tables import Unlocker
from aggregator.vault.key_service import KeyService
from aggregator.vault.keys import Root
from aggregator.vault.seal import expand, header, unwrap, wrap

PASSWORD = "password"  # noqa: S105 - the kind of an unlocker
RECOVERY = "recovery"
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 1024

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_GROUPS, _GROUP = 6, 5  # 26 characters of 5 bits, in groups of five with a check character each (the last has one)


# cryptography gives the lanes of one Argon2id to OpenSSL's threads. Two derivations at once take each other's, and fail
# with MemoryError or wait for ever (50.0.2, 4 lanes, 2 threads). Two processes do not disturb each other.
_ONE_DERIVATION = threading.Lock()


@dataclass(frozen=True, slots=True)
class Argon2Parameters:
    """RFC 9106, second recommended option. What is stored below this floor is refused, whoever wrote it."""

    memory_kib: int = 65536
    iterations: int = 3
    lanes: int = 4

    def acceptable(self) -> bool:
        """Between floor and ceiling, in whole numbers: a row that asks for more would take this machine's memory."""
        bounds = zip(astuple(self), astuple(Argon2Parameters()), astuple(_CEILING), strict=True)
        return all(type(value) is int and floor <= value <= ceiling for value, floor, ceiling in bounds)


_CEILING = Argon2Parameters(memory_kib=262144, iterations=12, lanes=8)


@dataclass(frozen=True, slots=True)
class DerivedKey:
    """A key from a new password, and what deriving it again takes (JSON)."""

    parameters: str
    key: bytes = field(repr=False)


def derive(password: str) -> DerivedKey:
    """A key from a new password; takes a tenth of a second. Raises CallerError for one too short or too long."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise CallerError(f"the password needs at least {SHORTEST_PASSWORD} characters, at most {LONGEST_PASSWORD}")
    parameters, salt = Argon2Parameters(), os.urandom(16)
    stored = orjson.dumps(asdict(parameters) | {"salt": salt.hex()}).decode()
    return DerivedKey(stored, _argon2(password, salt, parameters))


def password_unlocker(key_service: KeyService, vault: str, root: Root, derived: DerivedKey) -> Unlocker:
    """Wrap the root under a new password."""
    box = _lock(key_service, vault, PASSWORD, derived.key, root)
    return Unlocker(vault=vault, kind=PASSWORD, parameters=derived.parameters, box=box)


def recovery_unlocker(key_service: KeyService, vault: str, root: Root) -> tuple[Unlocker, str]:
    """Wrap the root under a new recovery code; the code is shown once and stored nowhere."""
    code = "".join(secrets.choice(_ALPHABET) for _ in range(26))
    box = _lock(key_service, vault, RECOVERY, _recovery_key(code), root)
    return Unlocker(vault=vault, kind=RECOVERY, parameters="{}", box=box), format_code(code)


def unlock(key_service: KeyService, row: Unlocker, secret: str) -> Root:
    """The root. Raises Tampered when the secret is wrong or the row was changed: the two look the same."""
    inner = key_service.unlock(row.vault, _header(row.vault, row.kind), row.box)
    key = _password_key(row, secret) if row.kind == PASSWORD else _recovery_key(parse_code(secret))
    return Root(unwrap(key, _header(row.vault, row.kind), inner))


def waste_time(kind: str, secret: str) -> None:
    """As much work as a wrong secret costs, for a login that does not exist."""
    if kind == PASSWORD:
        _argon2(secret, bytes(16), Argon2Parameters())


def format_code(code: str) -> str:
    """Groups of five with a check character each: a slip is found in its group."""
    groups = [code[at : at + _GROUP] for at in range(0, len(code), _GROUP)]
    return "-".join(group + _check_character(group) for group in groups)


def parse_code(text: str) -> str:
    """The 26 characters. Raises CallerError that names the group with the slip."""
    groups = text.strip().lower().replace(" ", "-").split("-")
    for number, group in enumerate(groups, 1):
        if not group or _check_character(group[:-1]) != group[-1]:
            raise CallerError(f"group {number} of the recovery code has a slip")
    code = "".join(group[:-1] for group in groups)
    if len(groups) != _GROUPS or len(code) != 26:
        raise CallerError(f"a recovery code has {_GROUPS} groups")
    return code


def _check_character(group: str) -> str:
    return _ALPHABET[hashlib.sha256(group.encode()).digest()[0] % len(_ALPHABET)]


def _password_key(row: Unlocker, password: str) -> bytes:
    try:
        stored = orjson.loads(row.parameters)
        salt = bytes.fromhex(stored.pop("salt"))
        parameters = Argon2Parameters(**stored)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Tampered("a stored password's parameters cannot be read") from None
    if len(salt) != 16 or not parameters.acceptable():
        raise Tampered("a stored password's parameters are below the floor or above the ceiling")
    return _argon2(password, salt, parameters)


def _argon2(password: str, salt: bytes, parameters: Argon2Parameters) -> bytes:
    text = unicodedata.normalize("NFKC", password).encode()
    with _ONE_DERIVATION:
        return Argon2id(
            salt=salt,
            length=32,
            iterations=parameters.iterations,
            lanes=parameters.lanes,
            memory_cost=parameters.memory_kib,
        ).derive(text)


def _recovery_key(code: str) -> bytes:
    return expand(hashlib.sha256(b"PRA1/recovery" + code.encode()).digest(), "recovery")


def _lock(key_service: KeyService, vault: str, kind: str, key: bytes, root: Root) -> bytes:
    return key_service.lock(vault, _header(vault, kind), wrap(key, _header(vault, kind), root.secret))


def _header(vault: str, kind: str) -> dict[str, Any]:
    return header("unlocker", vault, name=kind)
