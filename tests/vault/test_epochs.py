"""Epochs by themselves: the signed list, the columns' form, the way back; and their rows, exchanged by SQL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session

from aggregator.errors import Stale, Tampered
from aggregator.vault import epochs, tables
from aggregator.vault.epochs import Epochs, GrantedSeeds, KeyChain, OwnersSeeds
from aggregator.vault.keys import Root
from tests.vault.world import ERIKA, World
from tests.weaken import weakens

ROOT, OTHER = Root(bytes(range(32))), Root(bytes(range(1, 33)))
SECTIONS = {"results": "5ec7104a5ec7104a", "problems": "0123456789abcdef"}
VAULT = "v" * 26

ids = st.binary(min_size=8, max_size=8).map(bytes.hex)


@given(st.dictionaries(ids, st.binary(max_size=300), max_size=20))
def test_a_column_gives_back_what_was_packed(parts: dict[str, bytes]) -> None:
    assert epochs.unpacked(epochs.packed(parts)) == parts


@pytest.mark.parametrize("length", [1, 8, 9])
def test_a_column_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(Tampered, match="cut off"):
        epochs.unpacked(epochs.packed({SECTIONS["results"]: b"key"})[:length])


def test_the_epoch_of_a_log_position() -> None:
    listed = Epochs([1, 5, 5, 9], "")
    assert [listed.at(position) for position in (1, 4, 5, 8, 9, 100)] == [1, 1, 3, 3, 4, 4]  # the second took nothing
    assert listed.newest == 4


def vault() -> tables.Vault:
    return tables.Vault(id=VAULT, verification_key=ROOT.verification_key, audit_key=b"", certificate=b"", sections=b"")


def three_epochs() -> tuple[tables.Vault, dict[int, tables.SectionKeys]]:
    row = vault()
    rows = {1: epochs.found(row, ROOT, SECTIONS)}
    for epoch in (2, 3):
        row.log_position = epoch * 10
        rows[epoch] = epochs.turned(row, ROOT, SECTIONS)
    return row, rows


class _Rows(Session):
    """As much of a session as a key chain asks of one."""

    def __init__(self, rows: dict[int, tables.SectionKeys]) -> None:
        self.rows, self.asked = rows, list[int]()

    def get(self, _: object, key: tuple[str, int]) -> tables.SectionKeys | None:  # type: ignore[override]
        assert key[0] == VAULT
        self.asked.append(key[1])
        return self.rows.get(key[1])


def test_the_list_says_where_each_epoch_begins() -> None:
    row, _ = three_epochs()
    listed = epochs.read(row, ROOT.verification_key)
    assert (row.epoch, listed.firsts) == (3, [1, 21, 31])


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_the_newest_seeds_open_every_earlier_epoch(epoch: int) -> None:
    _, rows = three_epochs()
    newest = {name: ROOT.section(id_, 3) for name, id_ in SECTIONS.items()}
    chain = KeyChain(_Rows(rows), VAULT, GrantedSeeds(newest))
    assert chain.seed("results", epoch) == ROOT.section(SECTIONS["results"], epoch)
    assert chain.seed("results", epoch) is chain.seed("results", epoch)  # so that its key pair is made once
    assert chain.seed("results", epoch).private_key() is chain.seed("results", epoch).private_key()


def test_the_way_back_is_read_once_for_all_sections() -> None:
    _, rows = three_epochs()
    held = _Rows(rows)
    chain = KeyChain(held, VAULT, GrantedSeeds({name: ROOT.section(id_, 3) for name, id_ in SECTIONS.items()}))
    assert [chain.seed(name, 1).epoch for name in SECTIONS] == [1, 1]
    assert held.asked == [3, 2]


def test_the_owner_needs_no_way_back() -> None:
    held = _Rows({})
    chain = KeyChain(held, VAULT, OwnersSeeds(ROOT, SECTIONS))
    assert chain.seed("results", 2) == ROOT.section(SECTIONS["results"], 2)
    chain.reach(100)
    assert held.asked == []


def test_seeds_do_not_reach_forward() -> None:
    _, rows = three_epochs()
    chain = KeyChain(_Rows(rows), VAULT, GrantedSeeds({"results": ROOT.section(SECTIONS["results"], 2)}))
    chain.reach(2)
    with pytest.raises(Stale):
        chain.reach(3)
    with pytest.raises(Tampered, match="do not open"):
        chain.seed("results", 3)


@pytest.mark.attack(21)
@pytest.mark.parametrize("lost", ["row", "section"])
def test_a_way_back_that_is_gone_opens_nothing(lost: str) -> None:
    _, rows = three_epochs()
    if lost == "row":
        del rows[3]
    else:
        rows[3].earlier = epochs.packed({SECTIONS["problems"]: epochs.unpacked(rows[3].earlier)[SECTIONS["problems"]]})
    chain = KeyChain(_Rows(rows), VAULT, GrantedSeeds({"results": ROOT.section(SECTIONS["results"], 3)}))
    with pytest.raises(Tampered):
        chain.seed("results", 2)


@pytest.mark.attack(21, 22)
@weakens("aggregator.vault.epochs", "verify", lambda *_: None, about=(22,))
def test_a_list_counts_for_the_vault_and_root_that_signed_it() -> None:
    row, _ = three_epochs()
    row.id = "w" * 26
    with pytest.raises(Tampered, match="an epoch that there is not"):
        epochs.read(row, ROOT.verification_key)
    row.id = VAULT
    with pytest.raises(Tampered, match="signature of a stored list"):
        epochs.read(row, OTHER.verification_key)


@pytest.mark.attack(21, 22)
@weakens("aggregator.vault.epochs", "_keys_of", lambda _listed, row: epochs.unpacked(row.keys), about=(22,))
def test_another_vaults_keys_are_not_sealed_to(world: World) -> None:
    """Both are of the same installation, and both were signed by their roots."""
    second = world.accounts.sign_up("max.mustermann", "Ein anderes Passwort", ERIKA).owner
    with world.store.read() as session:
        theirs = session.get_one(tables.SectionKeys, (second.vault, 1)).keys
    world.sql("UPDATE section_keys SET keys = ? WHERE vault = ?", theirs, world.vault)
    with world.store.read() as session, pytest.raises(Tampered, match="not those that its root signed"):
        epochs.writable(session, world.vault, world.ring.verification_key(world.vault))
