"""`aggregator erase`: end a record for good."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aggregator.api.export_routes import place
from aggregator.commands.common import AsJson, opened, print_json, say
from aggregator.commands.secrets import PasswordFile, RecoveryFile, typed
from aggregator.errors import CallerError
from aggregator.identity import unlockers
from aggregator.portability import archive
from aggregator.portability.certificate_text import text
from aggregator.portability.erase import OPERATOR_ORDER, OWNER_ORDER, Secrets
from aggregator.portability.erase import erase as erased


def erase(
    context: typer.Context,
    login: Annotated[str | None, typer.Argument(help="By the person's own order: the login.")] = None,
    vault: Annotated[str | None, typer.Option("--vault", help="By the operator's order: the vault's id.")] = None,
    password_file: PasswordFile = None,
    recovery_file: RecoveryFile = None,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="A new file for the certificate.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Destroy a record's keys, prove by trying that nothing opens, delete what is left, and print a certificate.

    Nothing brings it back. `aggregator export` first, for who wants to take it along. With a login the owner's password
    is asked. Backups of the key ring from before stay for keys.backup_retention_days; the certificate names the day.
    Asked again with --vault, it prints the same certificate.

    Example: aggregator erase erika.muster --certificate erased.txt
    """
    if (login is None) == (vault is None):
        raise typer.BadParameter("name a login, or --vault ID")
    if certificate and certificate.exists():
        raise CallerError(f"{certificate} is there already; name a new file")
    with opened(context) as service:
        secrets: Secrets = {}
        if login is not None:
            kind = unlockers.RECOVERY if recovery_file else unlockers.PASSWORD
            secrets = {kind: typed("Password", recovery_file or password_file)}
            sign_in = service.accounts.sign_in_by_code if recovery_file else service.accounts.sign_in
            vault = sign_in(login, secrets[kind], "aggregator erase").vault
        question = f"This cannot be undone. Type the record's id to erase it ({vault})"
        if not yes and typer.prompt(question, err=True) != vault:
            raise CallerError("that is not the record's id; nothing was erased")
        by, days = OWNER_ORDER if login else OPERATOR_ORDER, service.config.keys.backup_retention_days
        made = erased(place(service), str(vault), by, days, secrets).as_json()
    if certificate:
        with archive.new_file(certificate) as file:
            file.write(text(made).encode())
    if as_json:
        print_json(made)
        return
    say(text(made))
