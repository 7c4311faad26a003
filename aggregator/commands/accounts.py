"""`aggregator accounts`: invitations to sign up, and what can be done for who has lost every way into their record."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from aggregator.api.service import Service
from aggregator.audit.receipts import Opening
from aggregator.commands.common import AsJson, opened, print_json, say
from aggregator.identity import invitations, logins
from aggregator.vault import counter
from aggregator.vault.encoding import instant
from aggregator.vault.seal import PublicKey

app = typer.Typer(help="Accounts. Example: aggregator accounts release LOGIN", no_args_is_help=True)

_WARNING = (
    "Whoever asks for this must be known to you as the owner of the login: check it as you would before handing out a "
    "record. The old record stays sealed and is not opened by this. Release the login?"
)


@app.callback()
def accounts() -> None:
    """Accounts. Example: aggregator accounts release LOGIN"""


@app.command()
def release(
    context: typer.Context,
    login: Annotated[str, typer.Argument(help="The login of a person who has lost every way into their record.")],
    days: Annotated[int, typer.Option(min=1, max=90, help="Who signs in within so many days keeps the login.")] = 7,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let a login become free, so that its owner can sign up anew and connect the sources again.

    Example: aggregator accounts release erika.muster --days 14
    """
    if not yes:
        typer.confirm(_WARNING, abort=True, err=True)
    with opened(context) as service:
        receipt(service, logins.find(service.store, service.key_service, login))
        made = logins.release(service.store, service.key_service, login, service.clock().timestamp(), days)
    free_from = datetime.fromtimestamp(made.free_from).astimezone().isoformat(timespec="minutes")
    if as_json:
        print_json({"vault": made.vault, "free_from": free_from, "later_login": made.later})
        return
    say(f"The login is free from {free_from}, unless somebody signs in to the old record before.")
    say(f"The old record {made.vault} stays sealed; who has a way in after all then signs in as {made.later}.")


@app.command()
def invite(
    context: typer.Context,
    days: Annotated[int, typer.Option(min=1, max=90, help="How long it can be used.")] = 14,
    as_json: AsJson = False,
) -> None:
    """Make an invitation: a code with which one person can sign up where sign_up.who is "invitation".

    Example: aggregator accounts invite --days 14
    """
    with opened(context) as service:
        code = invitations.issue(service.store, service.key_service, service.clock().timestamp(), days)
    if as_json:
        print_json({"code": code, "days": days})
    else:
        say(code)


def receipt(service: Service, vault: str) -> None:
    """Durable in the old record's chain before anything happens."""
    with service.store.read() as session:
        row = counter.known_head(session, vault)
    entry = {"kind": "released", "at": instant(service.clock()), "party": "operator", "name": "operator"}
    service.receipts.write_now([Opening(vault, PublicKey(row.audit_key)).first(entry)])
