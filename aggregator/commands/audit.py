"""`aggregator audit`: do the audit chains hold, and the heads to remember them by."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlmodel import Session, col, select

from aggregator.api.service import Service
from aggregator.audit import chain_file, keys, remembered, verify
from aggregator.audit.verify import Remembered, Verdict
from aggregator.commands.common import AsJson, opened, print_json, say
from aggregator.errors import CallerError
from aggregator.vault.tables import Vault

app = typer.Typer(help="The audit chains. Example: aggregator audit verify", no_args_is_help=True)


@app.callback()
def audit() -> None:
    """The audit chains. Example: aggregator audit verify"""


@app.command(name="verify")
def verify_chains(
    context: typer.Context,
    vault: Annotated[str | None, typer.Argument(help="One vault's id; else every chain.")] = None,
    kept: Annotated[
        Path | None, typer.Option("--remembered", help="Heads that were kept: JSON, or lines from paper.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Walk the chains, the signatures over their heads, and heads that were kept. Ends with 1 where one does not hold.

    Example: aggregator audit verify --remembered heads.txt
    """
    with opened(context) as service:
        known = [one.key for one in service.key_service.audit_keys()]
        heads = remembered.read(_text(kept), *known) if kept else []
        rows = verified(service, [vault] if vault else None, heads)
    if as_json:
        print_json({"chains": rows})
    for row in () if as_json else rows:
        say(f"{row['vault']}: {row['receipts']} receipts, {row['error'] or 'holds'}")
    if any(row["error"] for row in rows):
        raise typer.Exit(1)


@app.command()
def head(
    context: typer.Context,
    vault: Annotated[str | None, typer.Argument(help="One vault's id; else every chain.")] = None,
    as_json: AsJson = False,
) -> None:
    """The newest signed head of each chain, to be kept elsewhere: a line for paper, or JSON with the signature.

    Example: aggregator audit head > heads.txt
    """
    with opened(context) as service, service.store.read() as session:
        wanted = [vault] if vault else _vaults(session)
        heads = [found for one in wanted if (found := remembered.newest(session, one))]
        signers = [keys.signer(session, one) for one in heads]
    if vault and not heads:
        raise CallerError("this vault has no receipt yet, or there is no such vault")
    if as_json:
        print_json({"heads": [remembered.as_json(one, key) for one, key in zip(heads, signers, strict=True)]})
    for one in () if as_json else heads:
        say(remembered.as_line(one.vault, one.position, one.head))


@app.command(name="chain")
def chain_lines(context: typer.Context, vault: Annotated[str, typer.Argument(help="The vault's id.")]) -> None:
    """One chain as lines of JSON, to be verified by another program: aggregator/audit/VERIFY.md says how.

    Example: aggregator audit chain VAULT > chain.ndjson
    """
    with opened(context) as service, service.store.read() as session:
        found = False
        for line in chain_file.lines(session, vault, service.key_service.audit_verification_key()):
            found = True
            sys.stdout.buffer.write(line)
        sys.stdout.flush()
    if not found:
        raise CallerError("there is no such vault")


def verified(
    service: Service, vaults: Sequence[str] | None = None, heads: Sequence[Remembered] = ()
) -> list[dict[str, Any]]:
    """{vault, receipts, signed_upto, finding, first, error} of these chains, or of all and of those remembered.

    Where the chain holds, finding and error are "", and first is 0.
    """
    key = service.key_service.audit_verification_key()
    with service.store.read() as session:
        wanted = vaults or sorted({*_vaults(session), *(one.vault for one in heads)})
        kept = [*heads, *_counted(service, wanted)]
        return [_row(vault, verify.check(session, vault, key, kept)) for vault in wanted]


def _counted(service: Service, vaults: Sequence[str]) -> list[Remembered]:
    """The heads that the key service's counters remember."""
    counters = service.key_service.remembered(vaults).items()
    return [
        Remembered(vault, one.audit_position, one.audit_head, "the key service")
        for vault, one in counters
        if one.audit_position
    ]


def _vaults(session: Session) -> Sequence[str]:
    return session.exec(select(Vault.id).order_by(col(Vault.id))).all()


def _row(vault: str, verdict: Verdict) -> dict[str, Any]:
    found = verdict.finding
    told = {"finding": found.kind.value, "first": found.first, "error": str(found)} if found else _HOLDS
    return {"vault": vault, "receipts": verdict.receipts, "signed_upto": verdict.signed_upto} | told


_HOLDS: dict[str, Any] = {"finding": "", "first": 0, "error": ""}


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise CallerError(f"--remembered: {file} cannot be read as text") from None
