"""`aggregator consents`: what an operator can do about what patients have agreed to: end it, never make it."""

from __future__ import annotations

from typing import Annotated

import typer

from aggregator.api.service import Service
from aggregator.audit.receipts import Opening
from aggregator.commands.common import AsJson, opened, print_json, say
from aggregator.errors import OperatorError
from aggregator.vault import counter, truth
from aggregator.vault.encoding import instant

app = typer.Typer(help="Consents. Example: aggregator consents end --vault ID --party ID", no_args_is_help=True)

_WARNING = "The party loses all access to this record at once; only the patient can give it again. End it?"


@app.callback()
def consents() -> None:
    """Consents. Example: aggregator consents end --vault ID --party ID"""


@app.command()
def end(
    context: typer.Context,
    vault: Annotated[str, typer.Option(help="The record: the part before the dot of the Patient's id.")],
    party: Annotated[str, typer.Option(help="Who may read it: a client's name, or person/ and their record.")],
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """The emergency stop: end all that a party may do with a record, without the patient.

    It is written into the patient's list of accesses, and the keys change when the patient next signs in.

    Example: aggregator consents end --vault k3abc --party praxis-b
    """
    if not yes:
        typer.confirm(_WARNING, abort=True, err=True)
    with opened(context) as service:
        receipt(service, vault, party)
        ended = service.grants.stop(vault, party)
    if as_json:
        print_json({"ended": ended})
    else:
        say(
            "The access has ended." if ended else "There was no access to end; none will be given before a new consent."
        )


def receipt(service: Service, vault: str, party: str) -> None:
    """Durable in the record's chain before anything happens. Raises OperatorError where there is no such record."""
    with service.store.read() as session:
        row = counter.head(session, vault)
    if row is None or not row.certificate:
        raise OperatorError("there is no such record")
    key = truth.audit_key(row, service.key_service.verification_key(vault))
    entry = {"kind": "stopped", "at": instant(service.clock()), "party": "operator", "name": "operator"}
    entry |= {"interaction": "delete", "query": f"grant of {party}"}
    service.receipts.write_now([Opening(vault, key).first(entry)])
