"""The command line: `aggregator`, also `python -m aggregator`.

Exit 0 done, 1 failed, 2 wrong use. A failure is one sentence on stderr; no traceback, since a traceback's values could
be somebody's health data.
"""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from aggregator import __version__, memory
from aggregator.commands import accounts, audit, connectors, consents, keys, parties
from aggregator.commands.backup import backup
from aggregator.commands.common import DEFAULT_CONFIG
from aggregator.commands.demo import demo
from aggregator.commands.doctor import doctor
from aggregator.commands.erase import erase
from aggregator.commands.export import export
from aggregator.commands.import_ import import_
from aggregator.commands.restore import restore
from aggregator.commands.serve import serve
from aggregator.commands.sync import sync
from aggregator.errors import AggregatorError
from aggregator.vault import disk
from connectors.contract import ConnectorError

app = typer.Typer(
    name="aggregator",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print the values of local variables
)
for command in (demo, serve, sync, export, import_, erase, backup, restore, doctor):
    app.command(command.__name__.rstrip("_"))(command)
for name, group in (
    ("accounts", accounts.app),
    ("connectors", connectors.app),
    ("consents", consents.app),
    ("keys", keys.app),
    ("parties", parties.app),
    ("audit", audit.app),
):
    app.add_typer(group, name=name)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def aggregator(
    context: typer.Context,
    config: Annotated[Path, typer.Option(help="The settings; config.example.toml explains each.")] = DEFAULT_CONFIG,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell and end.")] = False,
) -> None:
    """Gathers one person's health data into a vault that belongs to the patient and opens it by consent alone.

    Example: aggregator demo
    """
    _ = version
    context.obj = config


def main() -> None:
    """Run one command and end the process with its exit code."""
    memory.keep_in()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        app()
    except (AggregatorError, ConnectorError) as error:
        sys.exit(_failed(str(error)))
    except Exception as error:  # noqa: BLE001 - the last resort: what is not known may hold anything in its message
        sys.exit(_failed(str(disk.failure(error) or _bug(error))))


def _bug(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: this is a bug"


def _failed(sentence: str) -> int:
    sys.stderr.write(f"aggregator: {sentence}\n")
    return 1


if __name__ == "__main__":
    main()
