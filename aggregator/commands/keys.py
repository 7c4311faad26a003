"""`aggregator keys`: the embedded key ring. No secret is ever shown."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from aggregator.app import master_key, open_service
from aggregator.audit import keys as audit_keys
from aggregator.commands.common import AsJson, config_file, print_json, progress, say
from aggregator.config import Config, load
from aggregator.errors import OperatorError
from aggregator.sync.resealing import reseal
from aggregator.vault.key_ring import KeyRing
from aggregator.vault.ring_folder import FILES
from aggregator.vault.store import Store
from aggregator.vault.tables import Installation
from connectors.contract import utc_now

app = typer.Typer(help="The key ring. Example: aggregator keys show", no_args_is_help=True)


@app.command()
def init(context: typer.Context) -> None:
    """Make a new key ring and the store that belongs to it, where neither is.

    Example: aggregator keys init
    """
    config = load(config_file(context))
    if (config.keys.folder / "ring.db").exists():
        raise OperatorError(f"keys.folder: {config.keys.folder} holds a key ring already; a new one never replaces it")
    open_service(config).close()
    say(f"key ring made: {config.keys.folder}. Back it up apart from {config.store.place}.")


@app.command()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Where the ring lies, its files and their modes, and that it belongs to the store.

    Example: aggregator keys show --json
    """
    config = load(config_file(context))
    folder = config.keys.folder
    if not (folder / "ring.db").exists():
        raise OperatorError(f"keys.folder: {folder} holds no key ring; make one with: aggregator keys init")
    open_service(config).close()  # refuses a ring that belongs to another store
    files = [row for name in FILES if (row := file_row(folder / name))]
    told = {
        "folder": str(folder),
        "store": config.store.place,
        "belongs_to_store": True,
        "destroyed_keys": _lines(config.keys.destroyed_list),
    }
    if as_json:
        print_json(told | {"files": files})
        return
    for name, value in told.items():
        say(f"{name.replace('_', ' ')}: {value}")
    for file in files:
        say(f"  {file['mode']} {file['name']}")


@app.command()
def rotate(
    context: typer.Context,
    worker: Annotated[bool, typer.Option("--worker", help="The worker's key instead.")] = False,
    audit: Annotated[bool, typer.Option("--audit", help="The key that signs audit heads instead.")] = False,
) -> None:
    """Draw a new master key and put the ring's rows under it. No vault is touched; the service must not run meanwhile.

    --worker seals anew what the worker holds. --audit has the old key sign the new one, so heads that were kept count.

    Example: aggregator keys rotate
    """
    config = load(config_file(context))
    ring = KeyRing(config.keys.folder, config.keys.destroyed_list, master_key(config))
    try:
        if worker:
            say(_rotate_worker(config, ring))
        if audit:
            say(_rotate_audit(config, ring))
        if not (worker or audit):
            say(_rotate_master(ring))
    finally:
        ring.close()


def _rotate_master(ring: KeyRing) -> str:
    ring.rotate_master()
    return "The key ring lies under a new master key. Back it up now: an older backup needs the older master key."


def _rotate_worker(config: Config, ring: KeyRing) -> str:
    with _store_of(config, ring) as store, ring.changing_worker_key() as keys, progress() as bars:
        task = bars.add_task("rows", total=None)

        def observe(table: str, done: int) -> None:
            bars.update(task, description=table, completed=done)

        made = reseal(store, keys, observe)
    told = f"{made.rows} rows are sealed to a new worker key; the old one is destroyed. Back up the key ring now."
    lost = f" {made.lost} rows opened with no key that is here and stay as they are; aggregator doctor names sources."
    return told + (lost if made.lost else "")


def _rotate_audit(config: Config, ring: KeyRing) -> str:
    with _store_of(config, ring) as store:
        ring.rotate_audit(utc_now())
        made = audit_keys.settle(store, ring)
    number = ring.audit_keys()[-1].number
    return f"Audit heads are signed by key {number} now, {made} chains end under it. Back up the key ring now."


@contextmanager
def _store_of(config: Config, ring: KeyRing) -> Iterator[Store]:
    """The store that belongs to the ring. Raises OperatorError where it is another's."""
    store = Store.of(config.store)
    try:
        store.create()
        with store.read() as session:
            row = session.get(Installation, 1)
        if row is None or row.key_ring != ring.ring:
            raise OperatorError(f"keys.folder: {store.place} does not belong to this key ring; set the one that it has")
        yield store
    finally:
        store.close()


def file_row(file: Path) -> dict[str, Any] | None:
    """{name, mode, private}; None where the file is not there."""
    if not file.exists():
        return None
    mode = stat.S_IMODE(file.stat().st_mode)
    return {"name": file.name, "mode": f"{mode:04o}", "private": not mode & 0o077}


def _lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0
