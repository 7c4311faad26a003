"""What tests of signing look at: grants as they stand, their versions, and what is still to be destroyed."""

from __future__ import annotations

from sqlmodel import select

from aggregator.identity.grant_archive import archived
from aggregator.vault import tables
from fhir_profiles.text import Resource
from tests.vault.world import DR_B, LABORATORY, World


class Killed(BaseException):
    """The process ends here."""


def local(consent: Resource) -> str:
    return str(consent["id"].partition(".")[2])


def grants(world: World) -> dict[str, tables.Grant]:
    """Party -> its grant."""
    names = {world.ring.handle("party", party.id): party.id for party in (DR_B, LABORATORY)}
    with world.store.read() as session:
        return {names[row.grantee]: row for row in session.exec(select(tables.Grant))}


def version(world: World) -> int:
    with world.store.read() as session:
        return session.get_one(tables.Vault, world.vault).grant_version


def intents(world: World) -> int:
    with world.store.read() as session:
        return len(session.exec(select(tables.GrantIntent)).all())


def in_force(world: World, number: int) -> list[str]:
    """Ids of the Consents in force with a grant version."""
    with world.store.read() as session:
        return [one["id"] for one in archived(session, world.ring, world.owner, number)]
