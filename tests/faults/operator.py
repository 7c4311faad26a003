"""What is done with the commands: backup, restore of what a disk took, new keys, export, import, erasure.

Each can be done again, where nobody knows whether it was done.
"""

from __future__ import annotations

import io
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import orjson
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

import aggregator.__main__ as command_line
from aggregator.errors import OperatorError
from aggregator.vault.store import Store
from aggregator.vault.tables import Installation
from tests.faults.living import LOGIN, PASSWORD, Home, Living
from tests.faults.shim import Shim

_KEPT = "destroyed"
"""The list of destroyed keys: it lies elsewhere, so a lost disk does not take it."""


def back_up(life: Living) -> None:
    """The last whole backup is the one that counts; a folder that a dead one left stays as it is."""
    number = 1 + len(list(life.home.folder.glob("backup-*")))
    to, keys_to = life.home.folder / f"backup-{number}", life.home.folder / f"keys-backup-{number}"
    _command(life.home, "backup", "--to", to, "--keys-to", keys_to)
    (life.home.folder / "label").write_text(str(number))


def lose(life: Living) -> None:
    """The database and the key ring are gone, and come back from the backup."""
    life.stop()
    with Shim().unwatched():
        take_away(life.home)
    mend(life.home)
    life.start()


def take_away(home: Home) -> None:
    """The database, the key ring and the blobs."""
    if home.store.url:
        engine = create_engine(home.store.database_url())
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        engine.dispose()
    else:
        shutil.rmtree(home.store.path.parent)
    for file in (home.folder / "keys").iterdir():
        if file.name != _KEPT:
            file.unlink()
    shutil.rmtree(home.folder / "blobs", ignore_errors=True)


def mend(home: Home) -> None:
    """What an operator does where the service does not start since the restore was cut short: the same again."""
    if not (home.folder / "label").exists() or _whole(home):
        return
    number = (home.folder / "label").read_text()
    keys = home.folder / "keys" / "ring.db"
    ring = [] if keys.exists() else ["--keys-from", home.folder / f"keys-backup-{number}"]
    _command(home, "restore", "--from", home.folder / f"backup-{number}", *ring)


def rotate_master(life: Living) -> None:
    _alone(life, "keys", "rotate")


def rotate_worker(life: Living) -> None:
    _alone(life, "keys", "rotate", "--worker")


def erase(life: Living) -> None:
    """Its certificate is printed, also where a start has finished what was begun."""
    ordered = Path(f"{life.home.folder}.erased")
    if life.sign_in() is not None:
        ordered.write_text(life.patient().partition(".")[0])
    vault = ordered.read_text()
    assert f"Record:          {vault}" in _command(life.home, "erase", "--vault", vault, "--yes")


def export(life: Living) -> None:
    """Erika's record in a sealed file, whose password is hers."""
    password = life.home.folder / "password"
    password.touch(0o600)
    password.write_text(PASSWORD)
    to = ("--sealed", life.home.folder / "erika.export", "--seal-password-file", password)
    _command(life.home, "export", LOGIN, "--password-file", password, *to)


def import_(life: Living) -> str:
    """That file's; returns the recovery code."""
    password, file = life.home.folder / "password", life.home.folder / "erika.export"
    given = ("--login", LOGIN, "--password-file", password, "--seal-password-file", password)
    told = orjson.loads(_command(life.home, "import", file, *given, "--json"))
    return str(told["recovery_code"])


def _alone(life: Living, *arguments: str) -> None:
    life.stop()
    _command(life.home, *arguments)
    life.start()


def _whole(home: Home) -> bool:
    """Is there an installation?"""
    try:
        store = Store.of(home.store)
    except OperatorError:
        return False
    try:
        with store.read() as session:
            return store.exists() and session.get(Installation, 1) is not None
    except DBAPIError:
        return False
    finally:
        store.close()


def _command(home: Home, *arguments: str | Path) -> str:
    """Runs `aggregator` in this process; what it printed. Raises OperatorError, or OSError where it tells of a bug."""
    file = Path(f"{home.folder}.toml")
    config = home.config()
    where = f'url = "{config.store.url}"' if config.store.url else f'path = "{config.store.path}"'
    file.write_text(f'[store]\n{where}\n[keys]\nfolder = "{config.keys.folder}"\n[blobs]\nurl = "{config.blobs.url}"\n')
    sys.argv = ["aggregator", "--config", str(file), *map(str, arguments)]
    printed, told = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(told):
            command_line.main()
    except SystemExit as ended:
        if ended.code:
            bug = "this is a bug" in told.getvalue()
            raise (OSError if bug else OperatorError)(told.getvalue()) from None
    printed.flush()
    return printed.buffer.getvalue().decode()
