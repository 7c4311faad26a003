"""What was in force with each grant version, as the owner keeps it (FORMAT.md section 4, kinds `grants` and `stop`).

The table of those who were ended is the database's; this is the owner's own word of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlmodel import Session

from aggregator.identity.accounts import Owner
from aggregator.vault import tables
from aggregator.vault.encoding import canonical
from aggregator.vault.key_service import KeyService
from aggregator.vault.keys import Root
from aggregator.vault.seal import header, read_header, unwrap, wrap
from fhir_profiles.text import Resource, dumps, loads


@dataclass(frozen=True, slots=True)
class Archived:
    """One grant version, as the owner keeps it. Grantees by their handles in hex.

    opened: grantee -> sections. ended: who gets no grant until a Consent names them anew. missing: the row is gone.
    """

    consents: Sequence[Resource]
    opened: Mapping[str, frozenset[str]]
    ended: frozenset[str] = frozenset()
    missing: bool = False

    def lost(self, opened: Mapping[str, frozenset[str]]) -> bool:
        """Is a section among these that one of them no longer has?"""
        return any(not names <= opened.get(who, frozenset()) for who, names in self.opened.items())

    def without(self, grantee: str) -> Archived:
        """The same after a grantee's end."""
        left = {who: names for who, names in self.opened.items() if who != grantee}
        return replace(self, opened=left, ended=self.ended | {grantee})


def archive(session: Session, key_service: KeyService, owner: Owner, version: int) -> Archived:
    """A grant version: its Consents, and what they opened to whom; nothing before the first. Raises Tampered."""
    row = session.get(tables.GrantArchive, (owner.vault, version))
    if row is None:
        return Archived([], {}, missing=version > 0)
    stopped = stop_header(owner.vault, version)
    if read_header(row.box) == canonical(stopped):
        grantee = key_service.unlock(owner.vault, stopped, row.box)
        return archive(session, key_service, owner, version - 1).without(grantee.hex())
    return read_members(orjson.loads(unwrap(owner.root.owner_key(), archive_header(owner.vault, version), row.box)))


def archived(session: Session, key_service: KeyService, owner: Owner, version: int) -> list[Resource]:
    """The Consents that were in force with a grant version. Raises Tampered."""
    return list(archive(session, key_service, owner, version).consents)


def members(made: Archived) -> dict[str, Any]:
    """As JSON holds it: the Consents as text, so that no number changes."""
    return {
        "consents": [dumps(one).decode() for one in made.consents],
        "ended": sorted(made.ended),
        "opened": {who: sorted(names) for who, names in made.opened.items()},
    }


def read_members(told: Mapping[str, Any]) -> Archived:
    """The inverse. Raises KeyError, ValueError, TypeError or AttributeError for what is none."""
    opened = {who: frozenset(map(str, names)) for who, names in told["opened"].items()}
    return Archived([loads(text) for text in told["consents"]], opened, frozenset(map(str, told["ended"])))


def archive_row(root: Root, vault: str, version: int, made: Archived) -> tables.GrantArchive:
    """What is stored of a grant version."""
    told = {"version": version} | members(made)
    box = wrap(root.owner_key(), archive_header(vault, version), canonical(told))
    return tables.GrantArchive(vault=vault, version=version, box=box)


def archive_header(vault: str, version: int) -> dict[str, Any]:
    """The header of one grant version in the archive."""
    return header("grants", vault, name=str(version))


def stop_header(vault: str, version: int) -> dict[str, Any]:
    """The header of a grant version that the operator made by ending one: the box holds the grantee's handle."""
    return header("stop", vault, name=str(version))
