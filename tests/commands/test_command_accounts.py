"""`aggregator accounts` and `consents`: what the operator may end, and what not."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from sqlmodel import col, delete, select

from aggregator.app import open_service
from aggregator.config import load
from aggregator.identity import invitations
from aggregator.identity.tables import Account, OwnerSession
from aggregator.vault.tables import Grant
from tests.commands.running import Run


@pytest.fixture
def home(home: Path, tmp_path: Path) -> Path:
    """A home of its own: what ends here has ended for good."""
    return Path(shutil.copytree(home, tmp_path / "home"))


def test_accounts_release_frees_no_login_that_somebody_uses(
    run: Run, config: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = json.loads((home / "people" / "erika.json").read_text())["login"]
    release = ("--config", config, "accounts", "release", login)
    assert (
        run("--config", config, "accounts", "release", "nobody", "--yes").err == "aggregator: there is no such login\n"
    )
    refused = run(*release, "--yes")
    assert (refused.code, "somebody is signed in" in refused.err) == (1, True)
    _end_sessions(config)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run(*release).code == 1
    assert _announced(config) == []
    released = run(*release, "--yes", "--json", "--days", "3")
    assert released.code == 0
    assert released.json["later_login"] == f"{login}#{released.json['vault'][:8]}"
    assert _announced(config) == [released.json["vault"]]
    assert run("--config", config, "audit", "verify").code == 0


def _end_sessions(config: Path) -> None:
    service = open_service(load(config))
    with service.store.write() as session:
        session.execute(delete(OwnerSession))
    service.close()


def _announced(config: Path) -> list[str]:
    service = open_service(load(config))
    with service.store.read() as session:
        found = list(session.exec(select(Account.vault).where(col(Account.free_from).is_not(None))))
    service.close()
    return found


def test_consents_end_is_the_operators_emergency_stop(run: Run, config: Path) -> None:
    end = ("--config", config, "consents", "end", "--party", "labor-foerde")
    assert run(*end, "--vault", "nobody", "--yes").err == "aggregator: there is no such record\n"
    (vault, *_) = _granted(config)
    assert run(*end, "--vault", vault, "--yes", "--json").json == {"ended": 1}
    assert vault not in _granted(config)
    assert "no access to end" in run(*end, "--vault", vault, "--yes").out
    assert run("--config", config, "audit", "verify").code == 0


def _granted(config: Path) -> list[str]:
    """The records that the laboratory may read."""
    service = open_service(load(config))
    grantee = service.key_service.handle("party", "labor-foerde")
    with service.store.read() as session:
        found = sorted(session.exec(select(Grant.vault).where(Grant.grantee == grantee)))
    service.close()
    return found


def test_accounts_invite_prints_a_code_that_is_good_for_one_sign_up(run: Run, config: Path) -> None:
    told = run("--config", config, "accounts", "invite", "--days", "3", "--json")
    made = json.loads(told.out)
    assert (told.code, made["days"], len(made["code"])) == (0, 3, 24)
    service = open_service(load(config))
    with service.store.write("test") as session:
        invitations.use(session, service.key_service, made["code"], service.clock().timestamp())
    service.close()
    assert run("--config", config, "accounts", "invite").out.count("-") == 4
