"""Sign-up, sign-in, recovery, owner sessions: what is refused, what is counted, and that no answer tells who exists."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import orjson
import pytest
from sqlmodel import select

from aggregator.consent.mandate import Person
from aggregator.errors import CallerError, SignInFailed, Tampered, UnlockNeeded
from aggregator.fhir.outcome import NotValid
from aggregator.identity import unlockers
from aggregator.identity.accounts import Accounts, SignedUp
from aggregator.identity.tables import Account, Attempts, OwnerSession, Unlocker
from aggregator.identity.unlockers import Argon2Parameters, format_code, parse_code
from aggregator.vault import tables
from aggregator.vault.seal import header
from tests.sync.sync_world import KilledHere, broken_commits
from tests.vault.world import LOGIN, PASSWORD, World
from tests.weaken import weakens
from tests.weakened import Plain

UWE = Person(family="Anders", given="Uwe", birth_date="1961-02-03")
WRONG = "login or password is wrong"


@pytest.fixture
def code(template: tuple[object, SignedUp]) -> str:
    return template[1].recovery_code


def sessions(world: World) -> int:
    with world.store.read() as session:
        return len(session.exec(select(OwnerSession)).all())


# --- sign-up, sign-in, sign-out


def test_who_signs_in_gets_the_root_and_a_session(world: World) -> None:
    owner = world.accounts.sign_in(LOGIN, PASSWORD)
    assert (owner.vault, owner.root.secret) == (world.vault, world.owner.root.secret)
    again = world.accounts.owner(owner.token)
    assert (again.vault, again.sections, again.token) == (owner.vault, owner.sections, owner.token)
    assert again.root.secret == owner.root.secret
    assert (again.unlocked_at, again.expires.timestamp() - again.unlocked_at.timestamp()) == (world.clock(), 30 * 60)


@pytest.mark.parametrize("login", [LOGIN.upper(), f"  {LOGIN} "])
def test_a_login_is_the_same_in_any_case_and_with_blanks(world: World, login: str) -> None:
    assert world.accounts.sign_in(login, PASSWORD).vault == world.vault


def test_a_password_is_the_same_however_its_umlauts_are_composed(world: World) -> None:
    world.accounts.sign_up("uwe", "größere Länge", UWE)
    world.accounts.sign_in("uwe", "gro\u0308ßere La\u0308nge")


@pytest.mark.attack(47)
@pytest.mark.parametrize("password", ["short", "123456789", "x" * 1025])
def test_a_short_password_is_refused_and_nothing_is_made(world: World, password: str) -> None:
    with pytest.raises(CallerError, match="the password needs at least 10 characters"):
        world.accounts.sign_up("uwe", password, UWE)
    with world.store.read() as session:
        assert len(session.exec(select(Account)).all()) == 1


@pytest.mark.attack(47)
def test_a_taken_login_is_refused_its_vault_unchanged_and_no_other_made(world: World) -> None:
    before = _vaults_in_ring(world)
    with pytest.raises(CallerError, match="this login is taken"):
        world.accounts.sign_up(LOGIN, "Ein anderes Wort", UWE)
    assert world.accounts.sign_in(LOGIN, PASSWORD).vault == world.vault
    assert _vaults_in_ring(world) == before


def _vaults_in_ring(world: World) -> int:
    with closing(sqlite3.connect(world.folder / "keys" / "ring.db")) as ring:
        return int(ring.execute("SELECT count(*) FROM vault").fetchone()[0])


def test_who_signed_up_is_signed_in_and_has_a_patient(world: World) -> None:
    made = world.accounts.sign_up("uwe", PASSWORD, UWE)
    again = world.accounts.owner(made.owner.token)
    assert (again.vault, again.sections, again.expires) == (made.owner.vault, made.owner.sections, made.owner.expires)
    assert world.signing.person(again) == UWE
    world.accounts.may_sign(again)


@pytest.mark.attack(48, 49)
@pytest.mark.parametrize("step", ["password", "recovery"])
def test_a_sign_up_that_fails_half_way_leaves_the_login_free(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as failing:
        failing.setattr(unlockers.Making, step, full)
        with pytest.raises(OSError, match="no space left"):
            world.accounts.sign_up("uwe", PASSWORD, UWE)
    assert world.accounts.sign_up("uwe", PASSWORD, UWE).owner.vault


@pytest.mark.attack(48, 49)
def test_a_sign_up_whose_commit_fails_leaves_nothing_behind(world: World) -> None:
    rows = _rows(world)
    with broken_commits(1), pytest.raises(KilledHere):
        world.accounts.sign_up("uwe", PASSWORD, UWE)
    assert _rows(world) == rows
    world.accounts.sign_up("uwe", PASSWORD, UWE)


def _rows(world: World) -> dict[str, int]:
    tables_ = (Account, Unlocker, OwnerSession, tables.Vault, tables.LogEntry)
    with world.store.read() as session:
        return {str(one.__tablename__): len(session.exec(select(one)).all()) for one in tables_}


def test_who_cannot_be_said_in_fhir_gets_no_account(world: World) -> None:
    rows = _rows(world)
    with pytest.raises(NotValid):
        world.accounts.sign_up("uwe", PASSWORD, replace(UWE, birth_date="1961-W05-5"))
    assert _rows(world) == rows


@pytest.mark.attack(46)
@pytest.mark.parametrize("login", ["", "  ", "x" * 255])
def test_a_login_has_a_length(world: World, login: str) -> None:
    with pytest.raises(CallerError, match="login: 1 to 254 characters are needed"):
        world.accounts.sign_up(login, PASSWORD, UWE)


@pytest.mark.attack(20)
@weakens("aggregator.vault.seal", "AESGCM", Plain)
def test_neither_login_nor_secrets_lie_in_the_store(world: World, code: str) -> None:
    owner = world.accounts.sign_in(LOGIN, PASSWORD)
    stored = world.raw()
    secrets_ = (LOGIN.encode(), PASSWORD.encode(), owner.token.encode(), parse_code(code).encode(), owner.root.secret)
    assert not any(one in stored for one in secrets_)


def test_after_signing_out_the_token_is_worth_nothing(world: World) -> None:
    owner = world.accounts.sign_in(LOGIN, PASSWORD)
    world.accounts.sign_out(owner.token)
    with pytest.raises(SignInFailed, match="the session has ended"):
        world.accounts.owner(owner.token)
    world.accounts.sign_out(owner.token)  # twice is once


def test_a_session_ends_by_itself_and_its_row_goes_with_the_next_sign_in(world: World) -> None:
    owner = world.accounts.sign_in(LOGIN, PASSWORD)
    world.clock.advance(minutes=30, seconds=-1)
    world.accounts.owner(owner.token)
    world.clock.advance(seconds=1)
    with pytest.raises(SignInFailed, match="the session has ended"):
        world.accounts.owner(owner.token)
    world.accounts.sign_in(LOGIN, PASSWORD)
    assert sessions(world) == 1


@pytest.mark.parametrize("token", ["", "never-was", "A" * 43])
def test_a_token_that_never_was_opens_nothing(world: World, token: str) -> None:
    with pytest.raises(SignInFailed):
        world.accounts.owner(token)


@pytest.mark.attack(21, 24)
@pytest.mark.parametrize(
    "edit", ["expires = expires + 3600", "unlocked_at = unlocked_at + 240", "vault = 'another'", "box = x'50525731'"]
)
def test_a_session_whose_row_was_edited_is_none(world: World, edit: str) -> None:
    owner = world.accounts.sign_in(LOGIN, PASSWORD)
    world.sql(f"UPDATE owner_session SET {edit}")
    with pytest.raises(CallerError):
        world.accounts.owner(owner.token)


# --- one answer for everything that is wrong


@pytest.mark.attack(47)
@weakens("aggregator.identity.unlockers", "waste_time", lambda *_: None)
def test_a_wrong_password_and_an_unknown_login_give_one_answer_for_one_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs: list[str] = []
    derive = unlockers._argon2

    def counted(password: str, salt: bytes, parameters: Argon2Parameters) -> bytes:
        costs.append(f"{parameters}")
        return derive(password, salt, parameters)

    monkeypatch.setattr(unlockers, "_argon2", counted)
    answers = []
    for login in (LOGIN, "nobody"):
        with pytest.raises(SignInFailed) as raised:
            world.accounts.sign_in(login, "Ein falsches Wort")
        answers.append(str(raised.value))
    assert answers == [WRONG, WRONG]
    assert costs == [str(Argon2Parameters())] * 2


@pytest.mark.attack(47)
@pytest.mark.parametrize("login", [LOGIN, "nobody"])
def test_a_wrong_recovery_code_says_the_same_to_known_and_unknown_logins(world: World, login: str) -> None:
    another = format_code("a" * 26)
    with pytest.raises(SignInFailed, match=f"^{WRONG}$"):
        world.accounts.recover(login, another, "Ein neues Wort")
    with pytest.raises(CallerError, match="group 2 of the recovery code has a slip"):
        world.accounts.prove_recovery(login, _slip(another, 2))


@pytest.mark.attack(47)
@weakens("aggregator.identity.attempts", "_wait", lambda *_: 0.0)
@pytest.mark.parametrize("login", [LOGIN, "nobody"])
def test_after_five_tries_one_waits_and_the_wait_doubles(world: World, login: str) -> None:
    waits = []
    for _ in range(7):
        with pytest.raises(SignInFailed):
            world.accounts.sign_in(login, "Ein falsches Wort")
        waits.append(_wait(world))
        world.clock.advance(seconds=waits[-1])
    assert waits == [0, 0, 0, 0, 1, 2, 4]


def _wait(world: World) -> float:
    with world.store.read() as session:
        row = session.exec(select(Attempts)).one()
    return max(row.next_at - world.clock().timestamp(), 0)


@pytest.mark.attack(47)
def test_the_wait_outlives_a_restart_and_the_right_password_ends_it(world: World) -> None:
    for _ in range(5):
        with pytest.raises(SignInFailed):
            world.accounts.sign_in(LOGIN, "Ein falsches Wort")
    restarted = Accounts(world.store, world.ring, world.clock, 1800, 300)
    with pytest.raises(SignInFailed, match="too many tries; wait 2 seconds"):
        restarted.sign_in(LOGIN, PASSWORD)
    world.clock.advance(seconds=1)
    restarted.sign_in(LOGIN, PASSWORD)
    with world.store.read() as session:
        assert session.exec(select(Attempts)).all() == []


@pytest.mark.attack(47)
@weakens("aggregator.identity.attempts", "count", lambda *_: 0.0)
def test_a_try_is_counted_before_it_is_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try that is cut off counts as well."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(unlockers, "unlock", killed)
    with pytest.raises(KeyboardInterrupt):
        world.accounts.sign_in(LOGIN, PASSWORD)
    with world.store.read() as session:
        assert [row.failures for row in session.exec(select(Attempts))] == [1]


@pytest.mark.attack(47)
@weakens("aggregator.identity.attempts", "count", lambda *_: 0.0)
def test_parallel_tries_are_counted_one_by_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(unlockers, "waste_time", lambda _kind, secret: tried.append(secret))

    def wrong(number: int) -> str:
        with pytest.raises(SignInFailed) as raised:
            world.accounts.sign_in("nobody", f"Falsches Wort {number}")
        return str(raised.value)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(wrong, range(20)))
    assert len(tried) == 5
    assert sum("too many tries" in answer for answer in answers) == 15


# --- what lies in the row


def relocked(world: World, row: Unlocker, parameters: str) -> None:
    """The row with other parameters, as one who has the key service as well could write it."""
    inner = unlockers.outer(world.ring, row)
    row.parameters = parameters
    row.box = world.ring.lock(row.vault, unlockers.outer_header(row), inner)
    world.store_unlocker(row)


@pytest.mark.attack(23)
@weakens("aggregator.identity.unlockers", "outer_header", lambda row: header("unlocker", row.vault, name=row.id))
def test_parameters_in_the_row_are_not_the_databases_to_change(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within floor and ceiling as well: what a password costs to try was decided when it was set."""
    world.accounts.sign_up("uwe", PASSWORD, UWE)
    row = world.unlocker(vault=world.accounts.sign_in("uwe", PASSWORD).vault)
    row.parameters = orjson.dumps(orjson.loads(row.parameters) | {"iterations": 4}).decode()
    world.store_unlocker(row)
    derived: list[object] = []
    monkeypatch.setattr(unlockers, "again", lambda *told: derived.append(told) or bytes(32))
    with pytest.raises(SignInFailed, match=WRONG):
        world.accounts.sign_in("uwe", PASSWORD)
    assert derived == []


@pytest.mark.attack(23)
@pytest.mark.parametrize("name", ["memory_kib", "iterations", "lanes"])
def test_parameters_below_the_floor_are_refused_though_the_password_is_right(world: World, name: str) -> None:
    row = world.unlocker()
    stored = orjson.loads(row.parameters)
    row.parameters = orjson.dumps(stored | {name: stored[name] - 1}).decode()
    world.store_unlocker(row)
    with pytest.raises(SignInFailed, match=WRONG):
        world.accounts.sign_in(LOGIN, PASSWORD)


@pytest.mark.attack(23)
@weakens("aggregator.identity.unlockers.Argon2Parameters", "acceptable", lambda _: True)
@pytest.mark.parametrize(
    "changed",
    [
        {"memory_kib": 262145},
        {"memory_kib": 2**31},
        {"iterations": 13},
        {"lanes": 9},
        {"memory_kib": 65536.5},
        {"lanes": True},
        {"iterations": "3"},
    ],
    ids=str,
)
def test_parameters_that_no_sign_up_wrote_are_refused_before_anything_is_derived(
    world: World, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object]
) -> None:
    """A row that asks for two terabytes would take this machine's memory. (Locked anew, with the shred key as well.)"""
    row = world.unlocker()
    relocked(world, row, orjson.dumps(orjson.loads(row.parameters) | changed).decode())
    monkeypatch.setattr(unlockers, "_argon2", lambda *_: pytest.fail("derived"))
    monkeypatch.setattr(unlockers, "waste_time", lambda *_: pytest.fail("the row was not looked at"))
    with pytest.raises(SignInFailed, match=WRONG):
        world.accounts.sign_in(LOGIN, PASSWORD)


SALTED = '{"memory_kib": 65536, "iterations": 3, "lanes": 4, "salt": "%s"}'
NONE = ["", "[]", "{}", "null", SALTED % "00", SALTED % "no hex", SALTED % "00" * 16 + ', "colour": "red"}']


@pytest.mark.attack(23)
@pytest.mark.parametrize("text", NONE)
def test_parameters_that_are_none_are_refused(world: World, text: str) -> None:
    relocked(world, world.unlocker(), text)
    with pytest.raises(SignInFailed, match=WRONG):
        world.accounts.sign_in(LOGIN, PASSWORD)


@pytest.mark.attack(21)
def test_that_a_code_was_proven_is_not_the_databases_to_say(world: World) -> None:
    uwe = world.accounts.sign_up("uwe", "Ein anderes Wort", UWE).owner
    row = world.unlocker("recovery", uwe.vault)
    row.proof = world.unlocker("recovery").proof
    world.store_unlocker(row)
    with pytest.raises(Tampered):
        world.signing.signer(uwe)


@pytest.mark.attack(21, 22)
def test_an_unlocker_of_another_vault_opens_nothing_here(world: World) -> None:
    other = world.accounts.sign_up("uwe", "Ein anderes Wort", UWE)
    mine, theirs = world.unlocker(), world.unlocker(vault=other.owner.vault)
    mine.parameters, mine.box, mine.created = theirs.parameters, theirs.box, theirs.created
    world.store_unlocker(mine)
    with pytest.raises(SignInFailed, match=WRONG):
        world.accounts.sign_in(LOGIN, "Ein anderes Wort")


# --- recovery


def _slip(code: str, group: int) -> str:
    """One character of this group (1 to 6) mistyped."""
    groups = code.split("-")
    wrong = "a" if groups[group - 1][0] != "a" else "b"
    groups[group - 1] = wrong + groups[group - 1][1:]
    return "-".join(groups)


def test_a_code_has_128_random_bits_in_groups_with_check_characters(code: str) -> None:
    assert re.fullmatch(r"([a-z2-7]{6}-){5}[a-z2-7]{2}", code)
    assert len(parse_code(code)) * 5 >= 128


WRITINGS: dict[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "blanks for hyphens": lambda code: code.replace("-", " "),
    "blanks around": lambda code: f"  {code}\n",
}


@pytest.mark.parametrize("write", WRITINGS.values(), ids=WRITINGS)
def test_a_code_is_read_in_any_writing(code: str, write: Callable[[str], str]) -> None:
    assert parse_code(write(code)) == parse_code(code)


@pytest.mark.parametrize("group", range(1, 7))
def test_a_slip_is_told_with_its_group(group: int) -> None:
    with pytest.raises(CallerError, match=f"^group {group} of the recovery code has a slip$"):
        parse_code(_slip(format_code("abcdefghijklmnopqrstuvwxyz"), group))


@pytest.mark.parametrize("text", ["", "-", "abc", format_code("a" * 20), format_code("a" * 31), "ä" * 30])
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(CallerError, match="recovery code"):
        parse_code(text)


def test_nothing_is_connected_before_the_code_was_typed_back(world: World) -> None:
    made = world.accounts.sign_up("uwe", "Ein anderes Wort", UWE)
    with pytest.raises(CallerError, match="type your recovery code back first"):
        world.signing.signer(made.owner)
    world.accounts.prove_recovery("uwe", made.recovery_code)
    assert world.accounts.recovery_proven(made.owner.vault)
    assert world.signing.signer(made.owner).person == UWE


def test_recovery_sets_a_new_password_and_ends_every_session(world: World, code: str) -> None:
    old = world.accounts.sign_in(LOGIN, PASSWORD)
    new = world.accounts.recover(LOGIN, code, "Ein neues langes Wort")
    assert new.root.secret == old.root.secret
    with pytest.raises(SignInFailed):
        world.accounts.owner(old.token)
    with pytest.raises(SignInFailed, match=WRONG):
        world.accounts.sign_in(LOGIN, PASSWORD)
    assert world.accounts.sign_in(LOGIN, "Ein neues langes Wort").vault == world.vault
    assert world.accounts.owner(new.token).vault == world.vault


def test_recovery_with_a_short_password_changes_nothing(world: World, code: str) -> None:
    with pytest.raises(CallerError, match="at least 10 characters"):
        world.accounts.recover(LOGIN, code, "short")
    assert world.accounts.sign_in(LOGIN, PASSWORD).vault == world.vault


# --- signing takes a fresh unlock


@pytest.mark.attack(50)
@pytest.mark.parametrize(
    ("seconds", "may"), [(0, True), (300, True), (301, False), (-1, False), (-86400, False), (86400, False)]
)
def test_signing_takes_an_unlock_within_the_last_minutes_by_whatever_clock(
    world: World, seconds: int, may: bool
) -> None:
    owner = world.accounts.sign_in(LOGIN, PASSWORD)
    world.clock.advance(seconds=seconds)
    if may:
        world.accounts.may_sign(owner)
    else:
        with pytest.raises(UnlockNeeded, match="sign in again and repeat this within five minutes"):
            world.accounts.may_sign(owner)
