"""`aggregator audit`: do the audit chains hold?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from sqlmodel import Session, col, select

from aggregator.api.service import Service
from aggregator.audit import chain
from aggregator.commands.common import AsJson, opened, print_json, say
from aggregator.errors import Tampered
from aggregator.vault.tables import Vault

app = typer.Typer(help="The audit chains. Example: aggregator audit verify", no_args_is_help=True)


@app.callback()
def audit() -> None:
    """The audit chains. Example: aggregator audit verify"""


@app.command()
def verify(
    context: typer.Context,
    vault: Annotated[str | None, typer.Argument(help="One vault's id; else every chain.")] = None,
    as_json: AsJson = False,
) -> None:
    """Walk the chains and the signatures over their heads. Ends with 1 where one does not hold.

    Example: aggregator audit verify --json
    """
    with opened(context) as service:
        rows = verified(service, [vault] if vault else None)
    if as_json:
        print_json({"chains": rows})
    for row in () if as_json else rows:
        say(f"{row['vault']}: {row['receipts']} receipts, {row['error'] or 'holds'}")
    if any(row["error"] for row in rows):
        raise typer.Exit(1)


def verified(service: Service, vaults: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """{vault, receipts, error} of these chains, or of all; error is "" where the chain holds."""
    key = service.key_service.audit_verification_key()
    with service.store.read() as session:
        wanted = vaults or session.exec(select(Vault.id).order_by(col(Vault.id))).all()
        return [_row(session, vault, key) for vault in wanted]


def _row(session: Session, vault: str, key: bytes) -> dict[str, Any]:
    try:
        return {"vault": vault, "receipts": chain.check(session, vault, key).receipts, "error": ""}
    except Tampered as error:
        return {"vault": vault, "receipts": 0, "error": str(error)}
