"""`aggregator keys`: the embedded key ring. No secret is ever shown."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import typer

from aggregator.app import master_key, open_service
from aggregator.commands.common import AsJson, config_file, print_json, say
from aggregator.config import load
from aggregator.errors import OperatorError
from aggregator.vault.key_ring import FILES, KeyRing

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
def rotate(context: typer.Context) -> None:
    """Draw a new master key and put the ring's rows under it. No vault is touched; the service must not run meanwhile.

    Example: aggregator keys rotate
    """
    config = load(config_file(context))
    ring = KeyRing(config.keys.folder, config.keys.destroyed_list, master_key(config))
    try:
        ring.rotate_master()
    finally:
        ring.close()
    say("The key ring lies under a new master key. Back it up now: an older backup needs the older master key.")


def file_row(file: Path) -> dict[str, Any] | None:
    """{name, mode, private}; None where the file is not there."""
    if not file.exists():
        return None
    mode = stat.S_IMODE(file.stat().st_mode)
    return {"name": file.name, "mode": f"{mode:04o}", "private": not mode & 0o077}


def _lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0
