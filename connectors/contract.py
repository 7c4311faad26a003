"""What a connector is: two methods, everything else declared data. No I/O happens here.

A connector turns (settings, cursor) into batches of FHIR resources, each with its origin. It guesses nothing and drops
nothing: what it cannot map leaves it as `Skipped`, with the reason and the raw payload.

    ConnectorError
    ├── Transient       nobody: it will be tried again, after `retry_after` where the source says so
    ├── NeedsPatient    the patient: sign in at the source again
    ├── NeedsOperator   the operator: the settings or the rights of this installation are wrong
    └── SourceChanged   the connector's author: the payload no longer parses as the format it should be
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Generic, NewType, Protocol, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict

from fhir_profiles.text import Resource

CONTRACT_VERSION = 1

Clock = Callable[[], datetime]
"""Returns the current time, aware of its zone."""

Client = httpx.AsyncClient
"""The HTTP client that a connector is given: its transport is injected, so tests and proxies need no patching."""

Cursor = NewType("Cursor", str)
"""Where the next pull goes on: opaque to everyone but its connector; from the source's clock, never from ours."""


class Reason(StrEnum):
    """Why something could not become a resource: a code the operator may read, so it says nothing of the content."""

    INVALID = "invalid"  # breaks a rule of FHIR R4
    UNKNOWN_TYPE = "unknown-type"  # a resource type this service does not know
    UNREADABLE = "unreadable"  # does not parse as its format
    UNDECODABLE = "undecodable"  # bytes outside the declared character set
    CHECKSUM = "checksum"  # the checksum in the file is not the file's
    TRUNCATED = "truncated"  # the end is missing
    VERSION = "version"  # a version of the format that is not supported
    PAGE_MISSING = "page-missing"  # a page of a plan never came
    UNKNOWN_CODE = "unknown-code"  # a code or unit with no rule for it
    NO_SUBJECT = "no-subject"  # does not say whose it is
    OTHER_PERSON = "other-person"  # is about somebody else
    TOO_LARGE = "too-large"  # larger than this installation takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where something came from.

    locator: for a person who wants to find it again: URL path, file name with line, message id. May hold health data.
    source_id: its id at the source, "Type/id" for what became a resource. Equal at every pull of the same thing.
    fetched_at: aware time at which it was read.
    sha256: hex digest of the raw payload.
    """

    locator: str
    source_id: str
    fetched_at: datetime
    sha256: str

    @classmethod
    def of(cls, raw: bytes, *, locator: str, source_id: str, fetched_at: datetime) -> Origin:
        """The origin of these raw bytes."""
        return cls(locator=locator, source_id=source_id, fetched_at=fetched_at, sha256=hashlib.sha256(raw).hexdigest())


@dataclass(frozen=True, slots=True)
class Identifier:
    """A FHIR Identifier's system and value."""

    system: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose an item is, as the source says it. birth_date is YYYY-MM-DD. Empty where the source is silent."""

    identifiers: tuple[Identifier, ...] = ()
    family: str = ""
    given: str = ""
    birth_date: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A FHIR R4 resource, with the source's own `id`. References to things of the same source read "Type/id".

    subject: in a feed always; an account's items belong to the account.
    warnings: what the connector noticed and could live with; stays with the resource.
    """

    resource: Resource
    origin: Origin
    subject: Subject | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deleted:
    """The source says that this resource, `origin.source_id`, is gone."""

    resource_type: str
    origin: Origin
    subject: Subject | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """Could not be mapped. `detail` is a sentence for the patient and may hold health data; `raw` is the payload."""

    reason: Reason
    origin: Origin
    raw: bytes
    detail: str = ""
    subject: Subject | None = None


Item = Found | Deleted | Skipped


@dataclass(frozen=True, slots=True)
class Batch:
    """Items that are stored together with the cursor behind them, or not at all.

    cursor: where to go on after this batch; None leaves the stored one as it is.
    listed: when not None, the batch ends a full listing of the source: the source ids of all that it still holds. What
        the ledger has beyond them is gone.
    total: how many items this pull will bring, where the source tells; for progress alone.
    """

    items: tuple[Item, ...]
    cursor: Cursor | None = None
    listed: frozenset[str] | None = None
    total: int | None = None


class Connector(Protocol):
    """Two methods. Both raise ConnectorError alone."""

    async def check(self) -> None:
        """Prove that the source answers and lets us in, or raise."""

    def pull(self, cursor: Cursor | None) -> AsyncIterator[Batch]:
        """All that is new since the cursor (everything for None), in batches. Repeating an item is allowed."""


class Settings(BaseModel):
    """The base of every connector's settings: unknown keys are errors, secrets are SecretStr.

    An error names the setting and what is wrong with it, never the value, which may be a secret.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


ConfigT = TypeVar("ConfigT", bound=Settings)


class Kind(StrEnum):
    """account: one patient's account at a source. feed: an operator's source that carries many patients."""

    ACCOUNT = "account"
    FEED = "feed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorSpec(Generic[ConfigT]):
    """What can be known of a connector without running its code.

    account: the settings that belong to one patient's connection and are sealed; the others are the operator's.
    account_id: the one among them that names the account at the source; part of the source key, so it never changes.
    keeps: of a feed, does the source keep what was pulled, as a folder does? A queue or a port does not: what nobody
        here is verified for then lies in the service's sealed hold for some weeks.
    """

    name: str
    version: str
    title: str
    config: type[ConfigT]
    connect: Callable[[ConfigT, httpx.AsyncClient, Clock], Connector]
    kind: Kind
    resource_types: tuple[str, ...]
    incremental: bool
    reports_deletions: bool
    min_interval: timedelta
    account: frozenset[str] = frozenset()
    account_id: str | None = None
    keeps: bool = True
    contract_version: int = CONTRACT_VERSION


class ConnectorError(Exception):
    """Why a pull could not go on. The message is a sentence without health data, secrets or addresses of patients."""


class Transient(ConnectorError):
    """The source is busy or away. Tried again by itself."""

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NeedsPatient(ConnectorError):
    """The patient must sign in at the source again."""


class NeedsOperator(ConnectorError):
    """The operator must mend a setting, a key or a right."""


class SourceChanged(ConnectorError):
    """The source's payload no longer parses: the connector must be mended."""


def utc_now() -> datetime:
    """The clock of production."""
    return datetime.now(UTC)
