"""Who can write the database exchanges, lowers and forges rows: each is refused by the check that is there for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlmodel import select

from aggregator.consent.mandate import open_mandate
from aggregator.errors import RolledBack, SignInFailed, Tampered
from aggregator.identity import unlockers
from aggregator.identity.accounts import Owner
from aggregator.identity.grant_archive import archive_header
from aggregator.identity.tables import OwnerSession
from aggregator.vault import tables
from aggregator.vault.keys import OWNER, Root
from aggregator.vault.log import first_link
from aggregator.vault.seal import unwrap, wrap
from tests.vault.world import DR_B, ERIKA, LABORATORY, LOGIN, PASSWORD, World
from tests.weaken import weakens
from tests.weakened import any_header

pytestmark = pytest.mark.attack(21)

SECOND, SECOND_PASSWORD = "max.mustermann", "Ein anderes Passwort"


@pytest.fixture
def second(world: World) -> Owner:
    """Another patient of the same installation."""
    return world.accounts.sign_up(SECOND, SECOND_PASSWORD, ERIKA).owner


def test_both_sign_in_as_themselves(world: World, second: Owner) -> None:
    assert world.accounts.sign_in(LOGIN, PASSWORD).vault == world.vault
    assert world.accounts.sign_in(SECOND, SECOND_PASSWORD).vault == second.vault


def test_my_password_on_anothers_account_opens_neither_vault(world: World, second: Owner) -> None:
    """Point my login at the other's vault, then put my unlocker into it as well."""
    world.sql("UPDATE account SET vault = ? WHERE vault = ?", world.vault, second.vault)
    with pytest.raises(SignInFailed):
        world.accounts.sign_in(SECOND, SECOND_PASSWORD)
    mine, theirs = world.unlocker(vault=second.vault), world.unlocker()
    mine.vault = theirs.vault
    world.sql("DELETE FROM unlocker WHERE vault = ? AND kind = 'password'", world.vault)
    world.store_unlocker(mine)
    with pytest.raises(SignInFailed):
        world.accounts.sign_in(SECOND, SECOND_PASSWORD)


def unlock(world: World, kind: str, secret: str) -> Root:
    return unlockers.unlock(world.ring, world.unlocker(kind), secret)


@weakens("aggregator.vault.seal", "_split", any_header)
def test_an_unlocker_of_one_kind_is_not_taken_for_another(world: World) -> None:
    world.sql("UPDATE unlocker SET kind = 'x' WHERE kind = 'recovery'")
    world.sql("UPDATE unlocker SET kind = 'recovery' WHERE kind = 'password' AND vault = ?", world.vault)
    with pytest.raises(Tampered, match="stands where another belongs"):
        unlock(world, "recovery", unlockers.format_code("a" * 26))


@pytest.mark.attack(23)
@weakens("aggregator.identity.unlockers.Argon2Parameters", "acceptable", lambda _: True, about=(23,))
@pytest.mark.parametrize(("name", "low"), [("memory_kib", 1024), ("iterations", 1), ("lanes", 1)])
def test_lowered_argon2_parameters_are_refused_whoever_wrote_them(world: World, name: str, low: int) -> None:
    """Wrapped anew under the weak key, as one who has the shred key as well could do: still refused, by the floor."""
    weak = unlockers.Argon2Parameters(**{name: low})
    key = unlockers._argon2(PASSWORD, bytes(16), weak)
    parameters = {"memory_kib": weak.memory_kib, "iterations": weak.iterations, "lanes": weak.lanes}
    row = world.unlocker()
    row.parameters = str(parameters | {"salt": bytes(16).hex()}).replace("'", '"')
    inner = wrap(key, unlockers.inner_header(row), world.owner.root.secret)
    row.box = world.ring.lock(world.vault, unlockers.outer_header(row), inner)
    world.store_unlocker(row)
    with pytest.raises(Tampered, match="parameters are below the floor"):
        unlock(world, "password", PASSWORD)
    with pytest.raises(SignInFailed):
        world.accounts.sign_in(LOGIN, PASSWORD)


def test_a_session_opens_with_its_own_token_alone(world: World, second: Owner) -> None:
    mine, other = world.accounts.sign_in(LOGIN, PASSWORD), world.accounts.sign_in(SECOND, SECOND_PASSWORD)
    with world.store.read() as session:
        rows = {row.vault: row for row in session.exec(select(OwnerSession))}
    theirs = rows[second.vault]
    for vault in (world.vault, second.vault):
        world.sql(
            "UPDATE owner_session SET box = ?, vault = ? WHERE token = ?", theirs.box, vault, rows[world.vault].token
        )
        with pytest.raises(SignInFailed):
            world.accounts.owner(mine.token)
    assert world.accounts.owner(other.token).vault == second.vault


def _section_map(world: World, second: Owner) -> Callable[[], object]:
    world.sql("UPDATE vault SET sections = (SELECT sections FROM vault WHERE id = ?)", second.vault)
    return lambda: world.accounts.sign_in(LOGIN, PASSWORD)


def _log(world: World, second: Owner) -> Callable[[], object]:
    """Another vault's first envelope in this one's log, head and chain set to match."""
    with world.store.write() as session:
        session.execute(tables.LogEntry.__table__.delete())  # type: ignore[attr-defined] - SQLModel adds it
    world.sql("UPDATE vault SET log_position = 0, chain = ? WHERE id = ?", _chain(second), world.vault)
    return world.truth


def _chain(owner: Owner) -> bytes:
    return first_link(owner.vault)


SWAPS = {"the section map": _section_map, "another vault's chain": _log}


@pytest.mark.parametrize("case", SWAPS)
def test_another_vaults_row_is_refused(world: World, second: Owner, case: str) -> None:
    attempt = SWAPS[case](world, second)
    with pytest.raises((Tampered, RolledBack)):
        attempt()


@weakens("aggregator.vault.seal", "_split", any_header)
def test_a_mandates_body_in_another_mandates_row_is_refused(world: World) -> None:
    one, other = world.connect(), world.connect()
    with world.store.read() as session:
        rows = {row.id: row for row in session.exec(select(tables.Mandate))}
    row = rows[one.id]
    row.box = rows[other.id].box
    with pytest.raises(Tampered, match="a stored mandate stands where another belongs"):
        open_mandate(row, world.worker, world.owner.root.verification_key)


@pytest.mark.attack(27)
@weakens("aggregator.consent.mandate", "verify", lambda *_: None, about=(27,))
def test_a_mandate_forged_by_sql_is_not_used_by_a_worker(world: World, second: Owner) -> None:
    """The other patient's mandate, word for word, under this vault's id; and one signed by a forger."""
    made = world.connect()
    with world.store.read() as session:
        row = session.get_one(tables.Mandate, (world.vault, made.id))
    with pytest.raises(Tampered, match="signature of a stored mandate"):
        open_mandate(row, world.worker, second.root.verification_key)
    row.signature = second.root.sign(b"PRA1/mandate" + row.certificate)
    with pytest.raises(Tampered, match="signature of a stored mandate"):
        open_mandate(row, world.worker, world.ring.verification_key(world.vault))


@weakens("aggregator.vault.seal", "_split", any_header)
def test_one_grant_versions_archive_is_not_anothers(world: World) -> None:
    world.permit(DR_B)
    world.permit(LABORATORY)
    world.sql("UPDATE grant_archive SET box = (SELECT box FROM grant_archive WHERE version = 1)")
    with world.store.read() as session:
        row = session.get_one(tables.GrantArchive, (world.vault, 2))
    with pytest.raises(Tampered, match="stands where another belongs"):
        unwrap(world.owner.root.owner_key(), archive_header(world.vault, 2), row.box)


def test_a_readers_image_is_not_the_owners(world: World) -> None:
    """The owner's image, put in the grantee's row: another key and header; the grantee's is built from the truth."""
    world.append("mental-health", world.put("Condition/1"))
    world.permit(DR_B)
    world.open().close()
    reader = world.grantee()
    expected = world.open(reader).image.sections()
    world.sql("UPDATE image SET box = (SELECT box FROM image WHERE reader = ?) WHERE reader <> ?", OWNER, OWNER)
    assert world.open(reader).image.sections() == expected
    assert "mental-health" not in expected


@pytest.mark.attack(22)
def test_a_grantees_handle_replaced_gives_the_grant_to_nobody(world: World) -> None:
    """Rename Dr B's grant to the laboratory's: the row is found, the signed certificate names another."""
    world.permit(DR_B)
    world.sql('UPDATE "grant" SET grantee = ?', world.ring.handle("party", LABORATORY.id))
    with pytest.raises(Exception, match="this grant is another party's"):
        world.opened(LABORATORY)
