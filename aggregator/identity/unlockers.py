"""Ways to the vault root: a password, passkeys, a recovery code (FORMAT.md section 4). Each wraps the root alone.

A row has two locks: the unlocker's own within the shred key's. The outer one can be renewed without any secret of the
owner's, and is, whenever an unlocker goes: rows of the generation before are dead, in every copy of the database.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

import orjson
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from aggregator.errors import CallerError, Refused, Tampered
from aggregator.identity import labels
from aggregator.identity.tables import Unlocker
from aggregator.vault.key_service import KeyService
from aggregator.vault.keys import Root
from aggregator.vault.seal import expand, header, unwrap, wrap

PASSWORD = "password"  # noqa: S105 - the kind of an unlocker
PASSKEY = "passkey"
RECOVERY = "recovery"
PRF_BYTES = 32
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


@dataclass(frozen=True, slots=True)
class Making:
    """What every new unlocker of a vault is made with. now: Unix seconds."""

    key_service: KeyService
    vault: str
    root: Root
    now: int

    def password(self, derived: DerivedKey, row: str = "") -> Unlocker:
        """Wrap the root under a new password. row: the id of the one before it, which it keeps."""
        return self._row(PASSWORD, derived.key, derived.parameters, row=row)

    def recovery(self) -> tuple[Unlocker, str]:
        """Wrap the root under a new recovery code; the code is shown once and stored nowhere."""
        code = "".join(secrets.choice(_ALPHABET) for _ in range(26))
        return self._row(RECOVERY, _recovery_key(code)), format_code(code)

    def passkey(self, prf: bytes, parameters: str, label: str) -> Unlocker:
        """Wrap the root under what a passkey's PRF gives. parameters: the passkey's, as JSON."""
        return self._row(PASSKEY, passkey_key(prf), parameters, label)

    def _row(self, kind: str, key: bytes, parameters: str = "{}", label: str = "", row: str = "") -> Unlocker:
        made = Unlocker(
            vault=self.vault,
            id=row or os.urandom(8).hex(),
            kind=kind,
            created=self.now,
            generation=self.key_service.generation(self.vault),
            parameters=parameters,
            label=b"",
            box=b"",
        )
        inner = wrap(key, inner_header(made), self.root.secret)
        made.label = labels.seal(self.root, self.vault, made.id, label)
        made.box = self.key_service.lock(self.vault, outer_header(made), inner)
        return made


def unlock(key_service: KeyService, row: Unlocker, secret: str | bytes) -> Root:
    """The root. secret: a password, a recovery code, or the bytes of a passkey's PRF.

    Raises Tampered when the secret is wrong or the row was changed: the two look the same.
    """
    inner = outer(key_service, row)
    if isinstance(secret, bytes):
        key = passkey_key(secret)
    else:
        key = again(row.parameters, secret) if row.kind == PASSWORD else _recovery_key(parse_code(secret))
    return Root(unwrap(key, inner_header(row), inner))


def outer(key_service: KeyService, row: Unlocker) -> bytes:
    """What lies within the shred key's lock. Raises Tampered for a row that was changed, or whose time is over."""
    known = key_service.generation(row.vault)
    if row.generation < known:
        raise Tampered("a stored unlocker was replaced")
    try:
        inner = key_service.unlock(row.vault, outer_header(row), row.box)
    except Refused:
        raise Tampered("the vault of a stored unlocker was erased") from None
    if row.generation > known:  # the commit that wrote it was not told to the key service: the process ended between
        key_service.raise_generation(row.vault, row.generation)
    return inner


def genuine(key_service: KeyService, rows: Sequence[Unlocker]) -> list[Unlocker]:
    """The rows that could open, given their secret: not those that someone with the database alone put there."""
    found = []
    for row in rows:
        try:
            outer(key_service, row)
        except Tampered:
            continue
        found.append(row)
    # One of them may have told of a generation that another is behind.
    return [row for row in found if row.generation >= key_service.generation(row.vault)]


def relock(key_service: KeyService, rows: Sequence[Unlocker], generation: int) -> None:
    """Carry rows to a generation: the shred key's lock alone is renewed, no secret is needed. Raises Tampered."""
    for row in rows:
        inner = outer(key_service, row)
        row.generation = generation
        row.box = key_service.lock(row.vault, outer_header(row), inner)


def restore(key_service: KeyService, rows: Sequence[Unlocker]) -> None:
    """Carry rows of an older copy of the database to the present generation: for `aggregator restore` alone.

    What was removed or changed since that copy opens again as it did then: the copy holds nothing newer. A row that is
    not genuine, or whose vault was erased, stays as it is.
    """
    for row in rows:
        known = key_service.generation(row.vault)
        if row.generation >= known:
            continue
        try:
            inner = key_service.unlock(row.vault, outer_header(row), row.box)
        except (Tampered, Refused):
            continue
        row.generation = known
        row.box = key_service.lock(row.vault, outer_header(row), inner)


def prove(key_service: KeyService, row: Unlocker) -> None:
    """Note in a recovery code's row that it was typed back."""
    row.proof = key_service.lock(row.vault, _proof_header(row), b"proven")


def proven(key_service: KeyService, row: Unlocker) -> bool:
    """Was this recovery code typed back? Raises Tampered where only the database says so."""
    return bool(row.proof) and key_service.unlock(row.vault, _proof_header(row), row.proof) == b"proven"


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


def again(parameters: str, password: str) -> bytes:
    """The key of `derive`, by what was stored. Raises Tampered where parameters are not within floor and ceiling."""
    try:
        stored = orjson.loads(parameters)
        salt = bytes.fromhex(stored.pop("salt"))
        cost = Argon2Parameters(**stored)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Tampered("a stored password's parameters cannot be read") from None
    if len(salt) != 16 or not cost.acceptable():
        raise Tampered("a stored password's parameters are below the floor or above the ceiling")
    return _argon2(password, salt, cost)


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


def passkey_key(prf: bytes) -> bytes:
    """The key that 32 bytes of PRF output stand for."""
    if len(prf) != PRF_BYTES:
        raise Tampered("a passkey's secret has another length")
    return expand(prf, "passkey")


def inner_header(row: Unlocker) -> dict[str, Any]:
    """The unlocker's own lock: which it is, whatever generation it is carried to."""
    return header("unlocker", row.vault, name=f"{row.kind}/{row.id}")


def outer_header(row: Unlocker) -> dict[str, Any]:
    """The shred key's lock: also the generation and the parameters, so that nobody changes them without it."""
    told = hashlib.sha256(row.parameters.encode()).hexdigest()
    return header("unlocker", row.vault, name=f"{row.kind}/{row.id}/{row.created}/{row.generation}/{told}")


def _proof_header(row: Unlocker) -> dict[str, Any]:
    return header("recovery-proof", row.vault, name=row.id)
