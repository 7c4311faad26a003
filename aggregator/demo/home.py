"""The demo's folder: the service's own parts, the practices' folders, and what people keep to themselves.

HOME/config.toml     written anew at each start, since the sources' ports change
HOME/store/, keys/   the service's database and key ring
HOME/people/         logins, passwords, private keys: each file mode 0600
HOME/sources/        the watched folders of the practices
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from joserfc.jwk import ECKey

from aggregator.errors import OperatorError

_PASSWORD_BYTES = 18  # 144 bits, 24 characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Purse:
    """What one patient keeps: the sign-in, the recovery code on paper, and the tokens of the patient's accounts.

    tokens: source authority -> the bearer token that the source has given the patient. recovery_code: "" before the
    sign-up.
    """

    login: str
    password: str
    tokens: dict[str, str]
    recovery_code: str = ""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one demo world."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> Home:
        """Make the folders that are not there yet. Raises OperatorError where that cannot be done."""
        home = cls(path.resolve())
        try:
            for folder in (home.path, home.path / "store", home.people, home.sources):
                folder.mkdir(parents=True, exist_ok=True)
            home.people.chmod(0o700)
        except OSError as error:
            problem = error.strerror or type(error).__name__
            raise OperatorError(f"--home {path}: {problem}; name a folder that this user may write") from None
        return home

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def people(self) -> Path:
        return self.path / "people"

    @property
    def sources(self) -> Path:
        return self.path / "sources"

    def purse(self, name: str, authorities: Iterable[str]) -> Purse:
        """A patient's own, with a token for each of these sources; drawn at random the first time, then kept."""
        file = self._patient_file(name)
        kept = Purse(**_read(file)) if file.exists() else Purse(login=name, password=_password(), tokens={})
        tokens = {authority: kept.tokens.get(authority) or secrets.token_urlsafe(32) for authority in authorities}
        made = replace(kept, tokens=tokens)
        self.keep(name, made)
        return made

    def keep(self, name: str, purse: Purse) -> None:
        """Write a patient's own back."""
        write_secret(self._patient_file(name), orjson.dumps(asdict(purse), option=orjson.OPT_INDENT_2))

    def private_key_file(self, client_id: str) -> Path:
        return self.people / f"{client_id}.private.json"

    def public_keys_file(self, client_id: str) -> Path:
        return self.people / f"{client_id}.jwks.json"

    def client_key(self, client_id: str) -> ECKey:
        """A provider's ES384 key, drawn the first time; its public half is written beside it as a JWK set."""
        file = self.private_key_file(client_id)
        if not file.exists():
            key = ECKey.generate_key("P-384", {"kid": secrets.token_hex(8), "alg": "ES384", "use": "sig"})
            write_secret(file, orjson.dumps(key.as_dict(private=True)))
        key = ECKey.import_key(_read(file))
        write_secret(self.public_keys_file(client_id), orjson.dumps({"keys": [key.as_dict(private=False)]}))
        return key

    def _patient_file(self, name: str) -> Path:
        return self.people / f"{name}.json"


def write_secret(file: Path, content: bytes) -> None:
    """Write a file that its owner alone may read: whole or not at all, and never readable in between."""
    draft = file.with_name(f".{file.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(content)
    draft.replace(file)


def _password() -> str:
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def _read(file: Path) -> dict[str, Any]:
    try:
        made: dict[str, Any] = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        raise OperatorError(f"{file} cannot be read; remove the whole demo home and start again") from None
    return made
