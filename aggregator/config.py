"""Settings: a TOML file, then environment variables (AGGREGATOR_STORE__PATH=...). `config.example.toml` explains each.

A wrong setting stops the start with its name, what is wrong, and what would be right.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import URL

from aggregator import database_url
from aggregator.errors import OperatorError

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(_Section):
    """Where the database lies: SQLite's file, or PostgreSQL where a URL is set."""

    path: Path = Path("store/aggregator.db")
    url: str = ""
    password_file: str = ""

    @field_validator("url")
    @classmethod
    def _sound(cls, url: str) -> str:
        if url and (wrong := database_url.problem(url)):
            raise PydanticCustomError("store_url", "{wrong}", {"wrong": wrong})  # its sentence holds no value
        return url

    def database_url(self) -> URL:
        """The URL with the password from its file. Raises OperatorError."""
        return database_url.with_password(self.url, Path(self.password_file) if self.password_file else None)

    @property
    def place(self) -> str:
        """Which database, in words for an operator: no URL holds a password."""
        return self.url or str(self.path)


class BlobSettings(_Section):
    """Where attachments lie, sealed: a folder, or a bucket of an S3-compatible store."""

    url: str = "store/blobs"
    endpoint: str = ""
    region: str = "us-east-1"
    credentials_file: str = ""

    @field_validator("url")
    @classmethod
    def _sound(cls, url: str) -> str:
        scheme, found, rest = url.partition("://")
        if not url or (found and (scheme not in ("file", "s3") or not rest.strip("/"))):
            raise PydanticCustomError("blob_url", "expects a folder, file:///folder or s3://bucket/prefix")
        return url

    @property
    def folder(self) -> Path | None:
        """None where it is a bucket."""
        return None if self.url.startswith("s3://") else Path(self.url.removeprefix("file://"))


class TokenSettings(_Section):
    """A PKCS#11 token that holds the master key; without a module it lies in the key ring's folder."""

    module: str = ""
    token: str = ""
    label: str = ""
    pin_file: str = ""


class KeySettings(_Section):
    """Where the embedded key ring lies: never in the store's folder, never in the same backup."""

    folder: Path = Path("keys")
    destroyed: str = ""
    backup_retention_days: int = Field(default=30, ge=0)
    pkcs11: TokenSettings = TokenSettings()

    @property
    def destroyed_list(self) -> Path:
        """Where the list of destroyed keys lies."""
        return Path(self.destroyed) if self.destroyed else self.folder / "destroyed"


class HttpSettings(_Section):
    """Where the service listens, and how others reach it."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    base_url: str = ""
    max_body_bytes: int = Field(default=2_000_000, ge=1024)
    fetch_loopback: bool = False
    trusted_proxies: int = Field(default=0, ge=0, le=9)

    @field_validator("base_url")
    @classmethod
    def _sealed_on_the_way(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in LOOPBACK):
            raise PydanticCustomError("base_url", "expects https://, or http:// for this machine alone (localhost)")
        return url


class SessionSettings(_Section):
    """How long sign-ins last."""

    owner_minutes: int = Field(default=30, ge=1)
    signing_minutes: int = Field(default=5, ge=1, le=60)
    client_token_minutes: int = Field(default=5, ge=1)


class SignUpSettings(_Section):
    """Who may sign up: everybody, who was invited (`aggregator accounts invite`), or nobody."""

    who: Literal["open", "invitation", "closed"] = "open"


class ViewSettings(_Section):
    """How long an opened view may stay in memory, and how much all of them may take together."""

    idle_minutes: int = Field(default=10, ge=1)
    memory_megabytes: int = Field(default=512, ge=1)
    vaults_per_search: int = Field(default=20, ge=1)


class LimitSettings(_Section):
    """How much a grantee (provider, payer, app, carer) may ask for, in all and of one record. Owners have no limit."""

    records_per_hour: int = Field(default=1000, ge=1)
    requests_per_minute: int = Field(default=6000, ge=1)
    megabytes_per_hour: int = Field(default=10_000, ge=1)
    record_requests_per_minute: int = Field(default=1200, ge=1)
    record_megabytes_per_hour: int = Field(default=1000, ge=1)


class SyncSettings(_Section):
    """When and how sources are pulled."""

    tick_seconds: int = Field(default=30, ge=1)
    jitter_percent: int = Field(default=10, ge=0, le=50)
    at_once: int = Field(default=4, ge=1)
    lease_minutes: int = Field(default=30, ge=1)
    longest_backoff_hours: int = Field(default=12, ge=1)
    hold_days: int = Field(default=30, ge=1, le=90)


class CardSettings(_Section):
    """SMART Health Cards that owners bring: a folder with the issuers that the operator trusts."""

    issuers: str = ""


class SourceSettings(_Section):
    """One source authority: a name that never changes, its connector, and that connector's settings."""

    connector: str
    title: str = ""
    interval_minutes: int = Field(default=360, ge=1)
    identity_level: Literal["low", "substantial", "high"] = "substantial"
    settings: dict[str, Any] = {}


class IdentifierSettings(_Section):
    """A FHIR Identifier by which Consents name a client."""

    system: str
    value: str


class ClientSettings(_Section):
    """A provider or payer that signs in as a SMART backend service, or an app that a patient lets in."""

    name: str
    kind: Literal["provider", "payer", "app"] = "provider"
    identifiers: list[IdentifierSettings] = []
    jwks_file: Path | None = None
    jwks: dict[str, Any] = {}
    jwks_uri: str = ""
    purposes: list[str] = ["TREAT"]
    redirect_uris: list[str] = []
    launch_uri: str = ""


class OpenIdSettings(_Section):
    """A sign-in provider that says who a patient is."""

    title: str
    issuer: str
    client_id: str
    client_secret_file: Path | None = None
    private_key_file: Path | None = None


class PartiesSettings(_Section):
    """Whom Consents can name beside the clients here: FHIR files, and how many may wait for the operator's approval."""

    directory_files: list[Path] = []
    most_pending: int = Field(default=50, ge=0)


class Config(BaseSettings):
    """All settings of an installation."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix="AGGREGATOR_", env_nested_delimiter="__")

    store: StoreSettings = StoreSettings()
    blobs: BlobSettings = BlobSettings()
    keys: KeySettings = KeySettings()
    http: HttpSettings = HttpSettings()
    session: SessionSettings = SessionSettings()
    sign_up: SignUpSettings = SignUpSettings()
    view: ViewSettings = ViewSettings()
    limits: LimitSettings = LimitSettings()
    sync: SyncSettings = SyncSettings()
    cards: CardSettings = CardSettings()
    sources: dict[str, SourceSettings] = {}
    clients: dict[str, ClientSettings] = {}
    parties: PartiesSettings = PartiesSettings()
    openid: dict[str, OpenIdSettings] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; nothing else is read."""
        _ = settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def load(file: Path | None) -> Config:
    """Read the file, then the environment. Paths in the file are relative to its folder. Raises OperatorError."""
    made = _read(file) if file else {}
    try:
        config = Config(**made)
    except ValidationError as error:
        raise OperatorError(_explain(file, error)) from None
    anchored = _anchored(config, file.parent if file else Path())
    _refuse_one_folder(anchored)
    return anchored


def _refuse_one_folder(config: Config) -> None:
    """Who copies the database or the attachments must not copy the keys with them."""
    keys, store = config.keys.folder.resolve(), None if config.store.url else config.store.path.parent
    for what, folder in (("the store's folder", store), ("blobs.url", config.blobs.folder)):
        whole = folder.resolve() if folder else None
        if whole and (whole == keys or keys in whole.parents or whole in keys.parents):
            raise OperatorError(
                f"keys.folder: {config.keys.folder} and {what} {folder} lie in one another; "
                "put them side by side, or on different disks"
            )


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OperatorError(f"{file} is not there; copy config.example.toml and name it with --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OperatorError(f"{file} is not TOML: {error}") from None


def _explain(file: Path | None, error: ValidationError) -> str:
    """One line a setting: its name, what is wrong, what would be right. Never the value: it may be a secret."""
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        name = ".".join(str(part) for part in problem["loc"])
        unknown = problem["type"] == "extra_forbidden"
        right = f"there is no such setting; known here: {_known(problem['loc'][:-1])}" if unknown else problem["msg"]
        lines.append(f"{name}: {right}")
    return f"{file or 'the environment'}: " + "; ".join(lines)


def _known(path: tuple[int | str, ...]) -> str:
    model: Any = Config
    named = {"sources": SourceSettings, "clients": ClientSettings, "openid": OpenIdSettings}
    for part in path:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        model = field.annotation if field else named.get(str(path[0]))
    return ", ".join(getattr(model, "model_fields", {}))


def _anchored(config: Config, folder: Path) -> Config:
    """Relative paths mean: beside the configuration file, wherever the command was started."""
    clients = {
        name: client.model_copy(update={"jwks_file": client.jwks_file and folder / client.jwks_file})
        for name, client in config.clients.items()
    }
    openid = {
        name: one.model_copy(update={key: file and folder / file for key, file in one if key.endswith("_file")})
        for name, one in config.openid.items()
    }
    return config.model_copy(
        update={
            "store": _anchored_store(config.store, folder),
            "blobs": _anchored_blobs(config.blobs, folder),
            "cards": CardSettings(issuers=str(folder / config.cards.issuers) if config.cards.issuers else ""),
            "keys": config.keys.model_copy(
                update={
                    "folder": folder / config.keys.folder,
                    "destroyed": str(folder / config.keys.destroyed) if config.keys.destroyed else "",
                }
            ),
            "clients": clients,
            "openid": openid,
            "parties": config.parties.model_copy(
                update={"directory_files": [folder / one for one in config.parties.directory_files]}
            ),
        }
    )


def _anchored_blobs(blobs: BlobSettings, folder: Path) -> BlobSettings:
    file = str(folder / blobs.credentials_file) if blobs.credentials_file else ""
    url = str(folder / blobs.folder) if blobs.folder else blobs.url
    return blobs.model_copy(update={"url": url, "credentials_file": file})


def _anchored_store(store: StoreSettings, folder: Path) -> StoreSettings:
    file = str(folder / store.password_file) if store.password_file else ""
    return store.model_copy(update={"path": folder / store.path, "password_file": file})
