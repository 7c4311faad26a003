"""How somebody saw who a patient is, and how sure that makes us.

The levels are eIDAS's: https://eur-lex.europa.eu/eli/reg_impl/2015/1502/oj. A patient's own word at sign-up is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from aggregator.consent.mandate import Person
from aggregator.vault.encoding import canonical
from aggregator.vault.seal import header
from aggregator.vault.worker_keys import WorkerKeys


class Method(StrEnum):
    """How the person was seen."""

    ACTIVATION_CODE = "activation-code"
    OPENID = "openid"
    IN_PERSON = "in-person"


class Level(StrEnum):
    """How sure it is."""

    LOW = "low"
    SUBSTANTIAL = "substantial"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """1 to 3: what is asked for is met by what ranks no lower."""
        return list(Level).index(self) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """by: who saw the person (a source authority, an OpenID issuer, a desk). at: when, aware of its zone."""

    method: Method
    level: Level
    by: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification(Fact):
    """A fact with the person whom it is about, as the one who vouches names them."""

    person: Person


def seal_facts(keys: WorkerKeys, vault: str, connection: str, facts: tuple[Fact, ...]) -> bytes:
    """What stands beside a connection, for the patient to see. Whom it is about stands in the keyed routes alone."""
    told = [
        {"method": one.method, "level": one.level, "by": one.by, "at": one.at.isoformat(timespec="seconds")}
        for one in facts
    ]
    return keys.seal(facts_header(vault, connection), canonical(told))


def open_facts(keys: WorkerKeys, vault: str, connection: str, box: bytes | None) -> tuple[Fact, ...]:
    """Oldest first. They decide nothing: whoever has the database and the worker's public key could seal others."""
    told: list[dict[str, Any]] = orjson.loads(keys.open(facts_header(vault, connection), box)) if box else []
    return tuple(
        Fact(
            method=Method(one["method"]),
            level=Level(one["level"]),
            by=one["by"],
            at=datetime.fromisoformat(one["at"]),
        )
        for one in told
    )


def facts_header(vault: str, connection: str) -> dict[str, Any]:
    """Of what stands beside a connection."""
    return header("verification", vault, name=connection)
