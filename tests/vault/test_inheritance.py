"""An imported vault keeps the keys that name things, and no key that opens what it came from."""

from __future__ import annotations

import os

import pytest

from aggregator.errors import Tampered
from aggregator.vault import inheritance
from aggregator.vault.keys import Inherited, Root
from aggregator.vault.seal import expand
from aggregator.vault.tables import Vault

pytestmark = pytest.mark.storeless

OLD, NEW = Root(bytes(range(32))), Root(bytes(range(1, 33)))
VAULT = "aaaqeayeaudaocajbifqydiob4"


def inherited(*sources: bytes) -> Inherited:
    content = {source.hex(): OLD.ledger_keys(source)[32:] for source in sources}
    return Inherited(OLD.ids().key, OLD.tag_key(), content, (OLD.audit_seed(),))


def row(root: Root) -> Vault:
    return Vault(
        id=VAULT,
        verification_key=b"",
        audit_key=b"",
        certificate=b"",
        sections=b"",
        inherited=inheritance.seal(root, VAULT),
        chain=b"",
        audit_head=b"",
    )


def test_ids_and_sources_stay_and_every_other_key_is_new() -> None:
    source = OLD.source("klinik", "erika")
    heir = NEW.heir(inherited(source))
    assert (heir.ids(), heir.tag_key(), heir.source("klinik", "erika")) == (OLD.ids(), OLD.tag_key(), source)
    assert heir.ledger_keys(source) == NEW.ledger_keys(source)[:32] + OLD.ledger_keys(source)[32:]
    assert heir.ledger_keys(bytes(16)) == NEW.ledger_keys(bytes(16))
    assert heir.verification_key == NEW.verification_key
    assert heir.owner_key() == NEW.owner_key() != OLD.owner_key()
    assert heir.section("a") == NEW.section("a")
    assert heir.audit_seed() == expand(NEW.secret, "audit")


def test_it_lies_in_the_vaults_row_for_its_owner_alone() -> None:
    heir = NEW.heir(inherited(bytes(16)))
    stored = row(heir)
    assert inheritance.heir(Root(NEW.secret), stored).inherited == heir.inherited
    assert inheritance.heir(NEW, row(NEW)).inherited is None
    with pytest.raises(Tampered):
        inheritance.heir(OLD, stored)
    stored.id = "b" * 26
    with pytest.raises(Tampered):
        inheritance.heir(NEW, stored)
    assert repr(OLD.ids().key) not in repr(heir.inherited)


@pytest.mark.parametrize("member", ["ids", "tag", "content", "audit"])
@pytest.mark.parametrize("value", [None, "", "AAAA", [], {"x": "AAAA"}, ["AAAA"]])
def test_other_keys_are_none(member: str, value: object) -> None:
    told = inheritance.members(inherited(os.urandom(16)))
    assert inheritance.read_members(told)
    if value == [] and member == "audit":
        return
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        inheritance.read_members(told | {member: value})
