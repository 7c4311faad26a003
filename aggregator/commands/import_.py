"""`aggregator import`: a record that was taken along, into this installation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from aggregator.api.export_routes import place
from aggregator.commands.common import AsJson, note, opened, print_json, say
from aggregator.commands.secrets import typed
from aggregator.errors import CallerError
from aggregator.portability import archive, sealed_file
from aggregator.portability.archive import Files
from aggregator.portability.imported import import_record


def import_(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="The folder or the sealed file that `aggregator export` wrote.")],
    login: Annotated[str, typer.Option(help="The login that the person will have here.")],
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="The new password here, in a file that others cannot read.")
    ] = None,
    seal_file: Annotated[
        Path | None, typer.Option("--seal-password-file", help="The sealed file's password, in such a file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a person's whole record into this installation, where it is not yet.

    Ids, versions and history stay as they were. Consents permit nothing until their owner signs them again here;
    earlier receipts are kept as a closed chain; the sources have to be connected again, and will double nothing. Take
    a file from nobody but the person whose record it is.

    Example: aggregator import erika.export --login erika.muster
    """
    with opened(context) as service, _reading(path, seal_file) as files:
        password = typed("New password here", password_file, twice=True)
        made = import_record(place(service), service.worker_keys, service.accounts, files, login, password)
        service.accounts.sign_out(made.signed_up.owner.token)
        code = made.signed_up.recovery_code
        if not as_json and sys.stdin.isatty():
            say(f"Recovery code, shown this once: {code}")
            _prove(partial(service.accounts.prove_recovery, login))
    told = {"vault": made.signed_up.owner.vault, "resources": made.resources, "attachments": made.attachments}
    if as_json:
        print_json(told | {"recovery_code": code, "connect_again": made.sources, "receipts_finding": made.finding})
        return
    if not sys.stdin.isatty():
        say(f"Recovery code, shown this once: {code}")
    say(f"{made.resources} resources and {made.attachments} attachments are here: {made.signed_up.owner.vault}")
    if made.finding:
        say(f"The receipts that came with it do not hold: {made.finding}")
    sources = ", ".join(made.sources) or "none"
    say(f"To do: sign the consents again that should count here; connect these sources again: {sources}.")


@contextmanager
def _reading(path: Path, seal_file: Path | None) -> Iterator[Files]:
    """The files of a folder or of a sealed file."""
    if path.is_dir():
        yield lambda: archive.in_folder(path)
        return
    try:
        file = path.open("rb")
    except OSError:
        raise CallerError(f"{path} cannot be read") from None
    with file:
        password = typed("The file's password", seal_file)
        yield lambda: archive.in_tar(sealed_file.unseal(file, password))


def _prove(prove: partial[str]) -> None:
    """Nothing is synced before the code was typed back, here or in the app."""
    while True:
        try:
            prove(typer.prompt("Type it back (Ctrl-C to do that later in the app)", err=True))
        except CallerError as error:
            note.print(str(error), markup=False)
        else:
            return
