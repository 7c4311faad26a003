"""`aggregator connectors code`, `codes`, `void`: what an operator does with activation codes."""

from __future__ import annotations

from typing import Annotated

import typer

from aggregator.api.service import Service
from aggregator.commands.common import AsJson, note, opened, print_json, say
from aggregator.consent.mandate import Person
from aggregator.sync import activation
from aggregator.sync.routes import feed_id
from aggregator.sync.verification import Level

SourceName = Annotated[str, typer.Argument(metavar="SOURCE", help="A source's name in the configuration.")]


def code(
    context: typer.Context,
    source: SourceName,
    family: Annotated[str, typer.Option(help="Family name, as on the insurance card.")],
    given: Annotated[str, typer.Option(help="Given name, as on the insurance card.")],
    birth_date: Annotated[str, typer.Option(help="YYYY-MM-DD.")],
    kvnr: Annotated[str | None, typer.Option(help="Statutory insurance number.")] = None,
    level: Annotated[Level, typer.Option(help="How surely the person was identified.")] = Level.SUBSTANTIAL,
    as_json: AsJson = False,
) -> None:
    """Issue an activation code for a person whose identity the practice has seen; valid once, for 30 days.

    Example: aggregator connectors code labor --family Muster --given Erika --birth-date 1964-08-12
    """
    try:
        person = Person(family=family, given=given, birth_date=birth_date, kvnr=kvnr)
    except ValueError:
        raise typer.BadParameter("a date as YYYY-MM-DD is needed", param_hint="--birth-date") from None
    with opened(context) as service:
        made = service.connections.issue_code(source, person, level)
        handle = activation.prefix(service.worker_keys, made)
    if as_json:
        print_json({"source": source, "code": made, "handle": handle})
    else:
        say(made)
        note.print(f"aggregator connectors void {handle} takes it back", markup=False)


def codes(context: typer.Context, as_json: AsJson = False) -> None:
    """The activation codes that nobody has redeemed yet, by the beginning of their handles; not whose they are.

    Example: aggregator connectors codes
    """
    with opened(context) as service:
        names = _feeds(service)
        with service.store.read() as session:
            found = activation.issued(session)
    told = [
        {"handle": one.prefix, "source": names.get(one.feed, ""), "expires": one.expires.isoformat(timespec="seconds")}
        for one in found
    ]
    if as_json:
        print_json({"codes": told})
    for one in () if as_json else told:
        say(f"{one['handle']}  {one['source'] or '(no source of the configuration)'}, expires {one['expires']}")


def void(
    context: typer.Context,
    handle: Annotated[str, typer.Argument(help="The beginning of its handle, as `codes` lists it.")],
) -> None:
    """Make an activation code worthless, before somebody redeems it.

    Example: aggregator connectors void 3fa17b02
    """
    with opened(context) as service, service.store.write() as session:
        activation.void(session, handle)
    say("the code is void")


def _feeds(service: Service) -> dict[bytes, str]:
    return {feed_id(service.worker_keys, one.authority): one.authority for one in service.registry if one.is_feed}
