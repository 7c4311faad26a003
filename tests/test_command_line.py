"""The command line: each command on one demo home, and every wrong use with its exit code and its sentence."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import col, delete, select

import aggregator.__main__ as command_line
from aggregator import memory, migrations
from aggregator.app import open_service
from aggregator.audit import remembered
from aggregator.audit.tables import Receipt
from aggregator.config import load
from aggregator.demo.sources import Sources
from aggregator.demo.story import people
from aggregator.demo.world import serving
from aggregator.errors import OperatorError
from aggregator.identity.tables import Account, OwnerSession
from aggregator.sync.tables import Connection
from aggregator.vault import blob, blob_rows
from aggregator.vault.seal import FORMAT
from aggregator.vault.tables import Grant
from connectors.contract import utc_now
from tests.audit import stranger
from tests.weaken import weakens

PROJECT = Path(__file__).parents[1]
pytestmark = pytest.mark.usefixtures("real_argon2")  # the home's passwords were derived in a process of its own
COMMANDS = (
    "demo",
    "serve",
    "sync",
    "export",
    "import",
    "erase",
    "backup",
    "restore",
    "accounts",
    "connectors",
    "consents",
    "keys",
    "audit",
    "doctor",
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs a command in this process."""
    monkeypatch.setattr(memory, "keep_in", lambda: None)  # of this process: pytest's; tests/test_memory.py tries it
    monkeypatch.setattr(memory, "swaps", lambda: False)

    def run_(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["aggregator", *map(str, arguments)])
        code = 0
        try:
            command_line.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        told = capfdbinary.readouterr()
        return Ended(code, told.out.decode(), told.err.decode())

    monkeypatch.setenv("COLUMNS", "200")
    return run_


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo home; its configuration names sources that are gone."""
    folder = tmp_path_factory.mktemp("command-line") / "home"
    subprocess.run(
        [sys.executable, "-m", "aggregator", "demo", "--home", folder, "--once", "--port", "0"],
        check=True,
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
    )
    return folder


@pytest.fixture
def config(home: Path) -> Path:
    return home / "config.toml"


def test_help_teaches_each_command_by_an_example(run: Run) -> None:
    listed = run("--help")
    assert listed.code == 0
    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", listed.out)
        assert "Example: aggregator" in run(name, "--help").out


def test_demo_once_as_json_is_one_object_and_nothing_else(run: Run, home: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "half.json").write_text("{")
    ended = run("demo", "--home", home, "--once", "--json", "--port", 0, "--data", tmp_path / "data")
    assert ended.code == 0
    assert ended.json.keys() == {
        *("seconds", "sources", "patients", "providers", "data", "receipts", "stored_bytes", "raw_bytes"),
    }
    assert {row["stored"] for row in ended.json["sources"]} == {0}
    assert ended.err == "not taken: half.json: is no FHIR Bundle\n"


def test_demo_once_tells_people_what_came_of_it(run: Run, home: Path) -> None:
    ended = run("demo", "--home", home, "--once", "--port", "0")
    assert ended.code == 0
    assert "klinik-nord/erika" in ended.out
    assert "Hausarztpraxis Linden" in ended.out
    assert ended.err == ""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_demo_serves_until_it_is_stopped_and_what_it_prints_works(home: Path, tmp_path: Path, stop: int) -> None:
    command = [sys.executable, "-m", "aggregator", "demo", "--home", home, "--port", "0", "--json"]
    with subprocess.Popen(
        command, cwd=tmp_path, env={"PYTHONPATH": str(PROJECT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as up:
        try:
            assert up.stdout is not None
            up.stdout.readline()
            told = _addresses(tmp_path / "demo.json")
            assert told.keys() == {"base_url", "portal_url", "patients", "providers"}
            for one in (told["patients"][0], told["providers"][0]):
                answer = httpx.get(
                    f"{told['base_url']}/fhir/Patient/{told['patients'][0]['id']}",
                    headers={"Authorization": f"Bearer {one['token']}"},
                    trust_env=False,
                )
                assert answer.status_code == 200
        finally:
            up.send_signal(stop)
        _, err = up.communicate(timeout=30)
    assert up.returncode == 0
    assert b"curl" in err


def _addresses(file: Path) -> dict[str, Any]:
    """demo.json, which comes just after the outcome."""
    for _ in range(500):
        if file.exists():
            break
        time.sleep(0.02)
    made: dict[str, Any] = json.loads(file.read_bytes())
    return made


def test_sync_pulls_what_answers_and_says_who_must_act(run: Run, config: Path) -> None:
    ended = run("--config", config, "sync", "--json")
    assert ended.code == 0
    by_source = {row["source"]: row for row in ended.json["connections"]}
    assert by_source["hausarzt-linden-labor"]["status"] == "fresh"
    assert by_source["klinik-nord"]["status"] == "late"
    assert by_source["klinik-nord"]["who"] == "nobody: it is tried again"


def test_sync_of_one_source_with_its_server_up(run: Run, home: Path) -> None:
    with serving(home, None, 0, open_service) as served:
        _let_in(served.sources, home)
        ended = run("--config", home / "config.toml", "sync", "klinik-nord", "--again")
    assert ended.code == 0
    assert ended.out.count("klinik-nord") == 3
    assert "fresh" in ended.out


def _let_in(sources: Sources, home: Path) -> None:
    """What the demo does when a patient moves in."""
    for person in people():
        token = json.loads((home / "people" / f"{person.id}.json").read_bytes())["tokens"]["klinik-nord"]
        sources.clinic.access.allow(token, person.clinic_id)


def test_sync_ends_with_1_where_a_connection_is_broken(run: Run, home: Path, tmp_path: Path) -> None:
    told = (home / "config.toml").read_text(encoding="utf-8")
    broken = tmp_path / "config.toml"
    text = told.replace(str(home / "sources" / "hausarzt-linden" / "plan"), str(tmp_path / "gone"))
    text = text.replace('"store/', f'"{home}/store/').replace('"keys"', f'"{home}/keys"')
    broken.write_text(text.replace('"people/', f'"{home}/people/'), encoding="utf-8")
    ended = run("--config", broken, "sync", "hausarzt-linden-plan")
    assert ended.code == 1
    assert "does not exist" in ended.out
    assert "(the operator)" in ended.out
    assert run("--config", home / "config.toml", "sync", "hausarzt-linden-plan").code == 0


def test_sync_of_something_unknown_is_wrong_use(run: Run, config: Path) -> None:
    ended = run("--config", config, "sync", "nowhere")
    assert ended.code == 2
    assert "nowhere" in ended.err


def test_connectors_lists_each_setting_with_type_default_and_owner(run: Run, config: Path) -> None:
    told = {one["name"]: one for one in run("--config", config, "connectors", "--json").json["connectors"]}
    assert sorted(told) == ["clinic_fhir", "insurer_fhir", "practice_ldt", "practice_medication_plan"]
    assert told["clinic_fhir"]["configured"] == ["klinik-nord"]
    settings = {one["name"]: one for one in told["clinic_fhir"]["settings"]}
    assert settings["page_size"] == {
        "name": "page_size",
        "type": "int",
        "required": False,
        "default": 100,
        "account": False,
    }
    assert settings["bearer_token"]["type"] == "SecretStr | None"
    assert settings["bearer_token"]["account"]
    assert settings["base_url"]["required"]


def test_connectors_tells_what_waits_in_each_feed_and_nothing_of_whom(run: Run, config: Path) -> None:
    """The demo's laboratory folder holds a report about somebody who is no patient."""
    feeds = {one.pop("source"): one for one in run("--config", config, "connectors", "--json").json["feeds"]}
    waiting = feeds["hausarzt-linden-labor"]["waiting"]
    assert waiting > 0
    assert feeds["hausarzt-linden-labor"] == {"keeps": True, "waiting": waiting, "held": 0, "oldest": None}
    told = f"hausarzt-linden-labor: items of people who are not verified: {waiting} waiting at the source"
    assert told in run("--config", config, "connectors").out.splitlines()


def test_connectors_are_listed_without_a_configuration(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run("connectors")
    assert ended.code == 0
    assert "clinic_fhir" in ended.out
    assert "not configured" in ended.out


def test_connectors_check_tells_whether_a_source_answers(run: Run, config: Path) -> None:
    assert run("--config", config, "connectors", "check", "hausarzt-linden-labor").out == (
        "hausarzt-linden-labor: answers\n"
    )
    ended = run("--config", config, "connectors", "check", "klinik-nord", "--json")
    assert ended.code == 1
    assert len(ended.json["checks"]) == 3
    assert run("--config", config, "connectors", "check", "nowhere").code == 1


PERSON = ("--family", "Muster", "--given", "Erika", "--birth-date")


def test_connectors_code_issues_an_activation_code(run: Run, config: Path) -> None:
    ended = run("--config", config, "connectors", "code", "hausarzt-linden-labor", *PERSON, "1964-08-12")
    assert ended.code == 0
    assert re.fullmatch(r"([A-Z2-9]{4}-){3}[A-Z2-9]{4}\n", ended.out)


def test_connectors_codes_lists_what_void_takes_back(run: Run, config: Path) -> None:
    issue = ("--config", config, "connectors", "code", "hausarzt-linden-labor", *PERSON, "1964-08-12", "--json")
    made = run(*issue, "--level", "high").json
    listed = run("--config", config, "connectors", "codes", "--json").json["codes"]
    (one,) = [one for one in listed if one["handle"] == made["handle"]]
    assert (one["source"], len(one["handle"])) == ("hausarzt-linden-labor", 8)
    assert f"{made['handle']}  hausarzt-linden-labor, expires " in run("--config", config, "connectors", "codes").out
    assert run("--config", config, "connectors", "void", made["handle"]).out == "the code is void\n"
    ended = run("--config", config, "connectors", "void", made["handle"])
    assert (ended.code, "0 codes begin so" in ended.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("connectors", "code", "hausarzt-linden-labor", *PERSON, "yesterday"), 2, "--birth-date"),
        (("connectors", "code", "klinik-nord", *PERSON, "1964-08-12"), 1, "klinik-nord is no feed"),
        (("audit", "verify", "nobody"), 1, "there is no such chain"),
        (("keys", "init"), 1, "holds a key ring already"),
        (("keys",), 2, "Usage"),
        (("nonsense",), 2, "No such command"),
        (("sync", "--nonsense"), 2, "No such option"),
        (("demo", "--port", "eighty"), 2, "--port"),
        (("demo", "--port", "70000"), 2, "--port"),
    ],
)
def test_wrong_use_is_told_in_a_sentence(
    run: Run, config: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    ended = run("--config", config, *arguments)
    assert ended.code == code
    assert told in ended.err + ended.out
    assert "Traceback" not in ended.err


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


def test_keys_show_tells_where_the_ring_lies_and_no_secret(run: Run, config: Path, home: Path) -> None:
    told = run("--config", config, "keys", "show", "--json")
    assert told.json["folder"] == str(home / "keys")
    assert told.json["belongs_to_store"]
    assert {row["mode"] for row in told.json["files"] if row["name"] != "destroyed"} == {"0600"}
    for name in ("master.key", "worker.key", "feed.key"):
        assert (home / "keys" / name).read_text().strip() not in told.out


def test_a_new_worker_key_is_made_while_nobody_uses_the_ring(run: Run, config: Path, home: Path) -> None:
    before = (home / "keys" / "worker.key").read_text()
    service = open_service(load(config))
    refused = run("--config", config, "keys", "rotate", "--worker")
    service.close()
    assert (refused.code, "is in use; end what uses it" in refused.err) == (1, True)
    assert (home / "keys" / "worker.key").read_text() == before
    ended = run("--config", config, "keys", "rotate", "--worker")
    assert re.match(r"\d+ rows are sealed to a new worker key; the old one is destroyed\.", ended.out)
    after = (home / "keys" / "worker.key").read_text()
    assert after != before
    assert after.strip() not in ended.out + ended.err
    service = open_service(load(config))
    with service.store.read() as session:
        for row in session.exec(select(Connection)):
            assert service.worker.settings(row)
            service.worker.state(row.vault, row.id, row.state)
    service.close()
    assert run("--config", config, "keys", "rotate").code == 0


def test_a_new_audit_key_leaves_every_chain_and_every_kept_head_good(run: Run, config: Path, tmp_path: Path) -> None:
    kept = tmp_path / "heads.json"
    kept.write_text(run("--config", config, "audit", "head", "--json").out)
    ended = run("--config", config, "keys", "rotate", "--audit")
    assert re.match(r"Audit heads are signed by key 2 now, \d+ chains end under it\.", ended.out)
    ended = run("--config", config, "audit", "verify", "--remembered", kept, "--json")
    assert ended.code == 0
    assert {row["finding"] for row in ended.json["chains"]} == {""}
    again = run("--config", config, "audit", "head", "--json").json["heads"]
    before = json.loads(kept.read_text())["heads"]
    assert {one["head"] for one in again} == {one["head"] for one in before}
    assert {one["key"] for one in again}.isdisjoint(one["key"] for one in before)


def test_keys_init_makes_a_ring_and_its_store(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    assert run("--config", tmp_path / "config.toml", "keys", "show").code == 1
    assert run("--config", tmp_path / "config.toml", "keys", "init").code == 0
    assert run("--config", tmp_path / "config.toml", "keys", "show").code == 0


def test_audit_verify_walks_every_chain(run: Run, config: Path) -> None:
    ended = run("--config", config, "audit", "verify", "--json")
    assert ended.code == 0
    assert len(ended.json["chains"]) == 4
    assert {row["error"] for row in ended.json["chains"]} == {""}


def test_audit_heads_are_kept_and_remembered(run: Run, config: Path, tmp_path: Path) -> None:
    heads = run("--config", config, "audit", "head")
    kept = tmp_path / "heads.txt"
    kept.write_text(heads.out)
    assert heads.out.count("PRA1-AUDIT") == 3
    assert run("--config", config, "audit", "verify", "--remembered", kept).code == 0
    told = run("--config", config, "audit", "head", "--json")
    ahead = told.json["heads"][0]
    kept.write_text(told.out)
    vault = ahead["vault"]
    assert run("--config", config, "audit", "verify", vault, "--remembered", kept).code == 0
    kept.write_text(remembered.as_line(vault, ahead["position"] + 1, bytes(32)))
    ended = run("--config", config, "audit", "verify", "--remembered", kept, "--json")
    assert ended.code == 1
    found = {row["vault"]: (row["finding"], row["first"]) for row in ended.json["chains"] if row["error"]}
    assert found == {vault: ("truncated", ahead["position"] + 1)}
    lines = run("--config", config, "audit", "chain", vault)
    assert stranger.verdict(lines.out, bytes.fromhex(ahead["key"])) == ("", 0)
    kept.write_bytes(b"\xff")
    assert run("--config", config, "audit", "verify", "--remembered", kept).code == 1
    assert run("--config", config, "audit", "chain", "nobody").code == 1
    assert run("--config", config, "audit", "head", "nobody").code == 1


def test_doctor_names_what_needs_somebody(run: Run, config: Path) -> None:
    ended = run("--config", config, "doctor", "--json")
    assert ended.code == 1
    wrong = {one["what"] for one in ended.json["findings"] if not one["ok"]}
    assert wrong == {"source klinik-nord", "source nordlicht"}
    quarantine = next(one for one in ended.json["findings"] if one["what"] == "quarantine")
    assert quarantine["told"] == "1 checksum, 3 invalid"
    database = next(one for one in ended.json["findings"] if one["what"] == "database")
    assert f"aggregator.db, revision {migrations.head()}, format {FORMAT}, " in database["told"]


def test_doctor_says_when_an_attachment_is_not_there(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    service = open_service(load(tmp_path / "config.toml"), utc_now)
    kept, lost = (blob.write(service.blobs, "a" * 26, [b"letter"]) for _ in range(2))
    with service.store.write() as session:
        blob_rows.record(session, "a" * 26, 1, [kept, lost])
    told = [run("--config", tmp_path / "config.toml", "doctor").out]
    service.blobs.delete(lost.id)
    told.append(run("--config", tmp_path / "config.toml", "doctor").out)
    service.close()
    assert "attachments: 2 are there" in told[0]
    assert "ACT  attachments: 1 of 2 are not there" in told[1]


@pytest.mark.attack(30)
def test_a_receipt_that_is_gone_is_found(run: Run, tmp_path: Path) -> None:
    ended = run("demo", "--home", tmp_path, "--once", "--json", "--port", "0")
    service = open_service(load(tmp_path / "config.toml"), utc_now)
    with service.store.write() as session:
        session.exec(delete(Receipt).where(col(Receipt.position) == 2))
    service.close()
    assert ended.code == 0
    assert run("--config", tmp_path / "config.toml", "audit", "verify").code == 1
    assert "audit chains: these do not hold" in run("--config", tmp_path / "config.toml", "doctor").out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[http]\nprot = 1", "http.prot: there is no such setting"),
        ("[http]\nport = 'x'", "http.port: Input should be a valid integer"),
        ("[sources.a]\nconnector = 'fax'", "no connector 'fax' is installed"),
        ("[clients.a]\nname = 'A'\njwks_file = 'gone.json'", "clients.a.jwks_file"),
        ("[http", "is not TOML"),
    ],
)
def test_a_wrong_configuration_stops_every_command(run: Run, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    for command in ("sync", "serve", "doctor"):
        ended = run("--config", tmp_path / "config.toml", command)
        assert ended.code == 1
        assert ended.err.startswith("aggregator: ")
        assert told in ended.err
        assert ended.err.count("\n") == 1


def test_a_lost_key_ring_is_told_and_no_new_one_made(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    assert run("--config", tmp_path / "config.toml", "keys", "init").code == 0
    (tmp_path / "keys" / "master.key").unlink()
    ended = run("--config", tmp_path / "config.toml", "sync")
    assert (ended.code, "Restore the key ring" in ended.err) == (1, True)


def test_a_port_in_use_is_told_with_what_changes_it(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("demo", "--home", tmp_path / "home", "--once", "--port", port)
        assert (ended.code, "--port" in ended.err) == (1, True)
        (tmp_path / "config.toml").write_text(f"[http]\nport = {port}")
        ended = run("--config", tmp_path / "config.toml", "serve")
        assert (ended.code, "http.port" in ended.err) == (1, True)


def _print_all(_: str) -> int:
    sys.stderr.write(traceback.format_exc())
    return 1


@pytest.mark.attack(33)
@weakens("aggregator.__main__", "_failed", _print_all)
def test_what_nobody_expected_is_told_without_its_content(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("F32.1 of Erika Muster")

    monkeypatch.setattr(command_line, "app", fail)
    ended = run("doctor")
    assert ended.code == 1
    assert re.fullmatch(r"aggregator: ValueError at test_command_line\.py:\d+: this is a bug\n", ended.err)


def test_our_own_errors_are_their_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OperatorError("set this")

    monkeypatch.setattr(command_line, "app", fail)
    assert run("doctor") == Ended(1, "", "aggregator: set this\n")


def test_serve_answers_and_stops_cleanly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "config.toml").write_text(f"[http]\nport = {port}")
    command = [sys.executable, "-m", "aggregator", "--config", tmp_path / "config.toml", "serve"]
    with subprocess.Popen(command, env={"PYTHONPATH": str(PROJECT)}, stderr=subprocess.PIPE) as up:
        try:
            assert up.stderr is not None
            assert b"serving at" in up.stderr.readline()
            with httpx.Client(transport=httpx.HTTPTransport(retries=5), trust_env=False) as client:
                assert client.get(f"http://127.0.0.1:{port}/healthz").text == "ok\n"
        finally:
            up.send_signal(signal.SIGTERM)
        _, err = up.communicate(timeout=30)
    assert (up.returncode, err) == (0, b"")


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
