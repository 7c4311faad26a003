"""`aggregator parties`: who may be named in Consents and sign in, what each claims, and how that was verified."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.markup import escape

from aggregator.api.party_routes import listed
from aggregator.api.service import Service
from aggregator.commands.common import AsJson, opened, out, print_json, say, table
from aggregator.errors import OperatorError
from aggregator.identity.registration import metadata
from aggregator.identity.registrations import Registration, State

app = typer.Typer(help="Parties. Example: aggregator parties list", no_args_is_help=True)

ClientId = Annotated[str, typer.Argument(help="The client id, as `aggregator parties list` shows it.")]
Note = Annotated[str, typer.Option(help="How you verified who this is: it is kept, and shown to patients.")]
_LONGEST_NOTE = 500
_WARNING = "It loses all access at once, to every record. End it?"


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """Everybody: of the settings, approved, of the directory; and who waits for approval.

    Example: aggregator parties list --json
    """
    with opened(context) as service:
        known = [listed(one) for one in service.parties.listed()]
        waiting = [_told(service, one) for one in service.parties.registrations.all(State.PENDING)]
    if as_json:
        print_json({"parties": known, "waiting": waiting})
        return
    shown = table("Parties", "id", "name", "kind", "verified", "note")
    for one in known:
        shown.add_row(*(escape(one[name]) for name in ("id", "name", "kind", "verified", "note")))
    out.print(shown)
    for one in waiting:
        say(f"waiting: {one['id']}: {one['claims']['client_name']}; see: aggregator parties show {one['id']}")


@app.command()
def show(context: typer.Context, client: ClientId, as_json: AsJson = False) -> None:
    """What a client that registered itself claims, and what the directory says of that.

    Example: aggregator parties show client-0123
    """
    with opened(context) as service:
        found = service.parties.registrations.find(client)
        if found is None:
            raise OperatorError(f"parties: {client} is no client that registered itself")
        told = _told(service, found)
    if as_json:
        print_json(told)
        return
    say(f"{told['id']}: {told['state']} since {told['since']}")
    for name, value in told["claims"].items():
        say(f"  claims {name}: {value if isinstance(value, str) else orjson.dumps(value).decode()}")
    say(f"  contacts: {', '.join(told['contacts']) or 'none'}")
    for one in told["directory"]:
        say(f"  the directory has {one['id']}: {one['name']} ({one['role'] or one['kind']})")
    if told["note"]:
        say(f"  verified: {told['note']}")


@app.command()
def approve(context: typer.Context, client: ClientId, note: Note, as_json: AsJson = False) -> None:
    """Let a client in as what it claims to be. What it may see, each patient decides.

    Example: aggregator parties approve client-0123 --note "Called the practice back, number from the directory"
    """
    with opened(context) as service:
        made = service.parties.approve(client, _checked(note))
    _done(made, as_json)


@app.command()
def refuse(context: typer.Context, client: ClientId, as_json: AsJson = False) -> None:
    """Take a client that waits off the list; nothing is left of it.

    Example: aggregator parties refuse client-0123
    """
    with opened(context) as service:
        service.parties.registrations.refuse(client)
    if as_json:
        print_json({"id": client, "state": "refused"})
    else:
        say(f"{client}: refused")


@app.command()
def end(
    context: typer.Context,
    client: ClientId,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Shut a client out that was approved. One of the settings is taken out there.

    Example: aggregator parties end client-0123
    """
    if not yes:
        typer.confirm(_WARNING, abort=True, err=True)
    with opened(context) as service:
        made = service.parties.registrations.end(client)
    _done(made, as_json)


@app.command()
def add(
    context: typer.Context,
    entry: Annotated[str, typer.Argument(help="Somebody of the directory files, as Practitioner/12.")],
    note: Note,
    jwks: Annotated[Path | None, typer.Option(help="A file with the public keys.")] = None,
    jwks_uri: Annotated[str, typer.Option(help="Where the public keys are kept.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let somebody of the directory sign in: name, kind and identifiers are the file's.

    Example: aggregator parties add Practitioner/12 --jwks dr-b.jwks.json --note "Key handed over at the practice"
    """
    keys: dict[str, Any] = {"jwks": _json(jwks)} if jwks else {"jwks_uri": jwks_uri}
    with opened(context) as service:
        made = service.parties.add(entry, keys, _checked(note))
    _done(made, as_json)


def _told(service: Service, one: Registration) -> dict[str, Any]:
    return {
        "id": one.id,
        "state": one.state.value,
        "since": datetime.fromtimestamp(one.at).astimezone().isoformat(timespec="minutes"),
        "claims": metadata(one.claim.settings),
        "contacts": list(one.claim.contacts),
        "directory": [listed(found) for found in service.parties.in_directory(one.claim)],
        "note": one.note,
    }


def _done(made: Registration, as_json: bool) -> None:
    if as_json:
        print_json({"id": made.id, "state": made.state.value})
    else:
        say(f"{made.id}: {made.state.value}")


def _checked(note: str) -> str:
    text = note.strip()
    if not text or len(text) > _LONGEST_NOTE or not text.isprintable():
        raise OperatorError(f"--note: say in 1 to {_LONGEST_NOTE} printable characters how you verified who this is")
    return text


def _json(file: Path) -> Any:
    try:
        return orjson.loads(file.read_bytes())
    except (OSError, ValueError):
        raise OperatorError(f"--jwks: {file} is no JWK set") from None
