"""What the operator does with the commands: backup, restore of what a disk took, new keys. Each can be done again."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

import aggregator.__main__ as command_line
from aggregator.errors import OperatorError
from aggregator.vault.store import Store
from aggregator.vault.tables import Installation
from tests.faults.living import Home, Living
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
        _take_away(life.home)
    mend(life.home)
    life.start()


def _take_away(home: Home) -> None:
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
    """Where a start has finished what was begun, there is nobody to sign in any more."""
    if life.sign_in() is None:
        return
    vault = life.patient().partition(".")[0]
    try:
        _command(life.home, "erase", "--vault", vault, "--yes")
    except OSError:
        if life.sign_in() is not None:
            raise


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


def _command(home: Home, *arguments: str | Path) -> None:
    """Runs `aggregator` in this process. Raises OSError where it fails."""
    file = Path(f"{home.folder}.toml")
    config = home.config()
    where = f'url = "{config.store.url}"' if config.store.url else f'path = "{config.store.path}"'
    file.write_text(f'[store]\n{where}\n[keys]\nfolder = "{config.keys.folder}"\n[blobs]\nurl = "{config.blobs.url}"\n')
    sys.argv = ["aggregator", "--config", str(file), *map(str, arguments)]
    try:
        command_line.main()
    except SystemExit as ended:
        if ended.code:
            raise OSError(f"{arguments[0]} ended with {ended.code}") from None
