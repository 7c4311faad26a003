"""`aggregator connectors`: what is installed and configured, whether sources answer, activation codes for patients."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from rich.markup import escape
from sqlmodel import col, select

from aggregator.api.service import Service
from aggregator.commands.activation_codes import SourceName, code, codes, void
from aggregator.commands.common import DEFAULT_CONFIG, AsJson, config_file, note, opened, out, print_json, say
from aggregator.config import Config, load
from aggregator.errors import AggregatorError, OperatorError
from aggregator.sync import registry
from aggregator.sync.hold import Backlog, backlog
from aggregator.sync.registry import Source
from aggregator.sync.tables import Connection
from connectors.contract import ConnectorError, ConnectorSpec

app = typer.Typer(help="Connectors and sources. Example: aggregator connectors check klinik-nord")

_MOST_SHOWN = 8


@app.callback(invoke_without_command=True)
def connectors(context: typer.Context, as_json: AsJson = False) -> None:
    """What is installed, what is configured, every setting with its type and default, and what waits in feeds.

    Example: aggregator connectors --json
    """
    if context.invoked_subcommand is None:
        config = _config(context)
        told = [_told(name, config) for name in registry.installed()]
        feeds = _backlogs(context, config)
        if as_json:
            print_json({"connectors": told, "feeds": [_waiting(one) for one in feeds]})
        else:
            _show(told)
            _show_backlogs(feeds)


@app.command()
def check(context: typer.Context, source: SourceName, as_json: AsJson = False) -> None:
    """Does the source answer, and let its accounts in?

    Example: aggregator connectors check klinik-nord
    """
    with opened(context) as service:
        found = asyncio.run(checked(service, service.registry.source(source)))
    if as_json:
        print_json({"source": source, "checks": [{"what": what, "error": error} for what, error in found]})
    for what, error in () if as_json else found:
        say(f"{what}: {error or 'answers'}")
    if any(error for _, error in found):
        raise typer.Exit(1)


for command in (code, codes, void):
    app.command()(command)


async def checked(service: Service, source: Source) -> list[tuple[str, str]]:
    """(what was asked, what is wrong or ""): a feed itself; of an account source each account that is connected."""
    found = []
    async with service.worker.client() as client:
        for what, account in _accounts(service, source):
            try:
                await source.connector(account, client, service.clock).check()
                found.append((what, ""))
            except (ConnectorError, AggregatorError) as error:
                found.append((what, str(error)))
    return found


def _accounts(service: Service, source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    if source.is_feed:
        yield source.authority, {}
        return
    with service.store.read() as session:
        live = (col(Connection.is_feed).is_(False), col(Connection.ended).is_(False))
        rows = session.exec(select(Connection).where(*live).order_by(Connection.id)).all()
    for row in rows:
        settings = service.worker.settings(row)
        if settings["authority"] == source.authority:
            yield f"{source.authority} {row.id}", settings["account"]


def _config(context: typer.Context) -> Config:
    """Without a file in its usual place nothing is configured, and what is installed can still be listed."""
    file = config_file(context)
    return Config() if file == DEFAULT_CONFIG and not file.exists() else load(file)


def _backlogs(context: typer.Context, config: Config) -> list[Backlog]:
    """Of all feeds, where there is a store to look into; the list of connectors needs none."""
    if not config.sources or not (config.store.url or config.store.path.exists()):
        return []
    try:
        with opened(context) as service:
            return [backlog(service.worker, source) for source in service.registry if source.is_feed]
    except OperatorError as error:
        note.print(f"what waits in feeds cannot be told: {error}", markup=False)
        return []


def _waiting(one: Backlog) -> dict[str, Any]:
    since = one.oldest.isoformat(timespec="seconds") if one.oldest else None
    return {"source": one.authority, "keeps": one.keeps, "waiting": one.waiting, "held": one.held, "oldest": since}


def _show_backlogs(feeds: list[Backlog]) -> None:
    for one in feeds:
        since = f", the oldest since {one.oldest:%Y-%m-%d}" if one.oldest else ""
        where = f"{one.waiting} waiting at the source" if one.keeps else f"{one.held} held{since}"
        say(f"{one.authority}: items of people who are not verified: {where}")


def _told(name: str, config: Config) -> dict[str, Any]:
    spec = registry.load(name)
    return {
        "name": name,
        "title": spec.title,
        "version": spec.version,
        "kind": spec.kind.value,
        "configured": sorted(source for source, one in config.sources.items() if one.connector == name),
        "settings": [_setting(spec, *field) for field in spec.config.model_fields.items()],
    }


def _setting(spec: ConnectorSpec[Any], name: str, field: FieldInfo) -> dict[str, Any]:
    required = field.is_required()
    default = None if required else field.get_default(call_default_factory=True, validated_data={})
    return {
        "name": name,
        "type": _type(field.annotation),
        "required": required,
        "default": default if isinstance(default, str | int | None) else _plain(default),
        "account": name in spec.account,
    }


def _type(kind: Any) -> str:
    """A type as people write it: without what pydantic checks beside it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in (Union, UnionType):
        return " | ".join(map(_type, arguments))
    named = "None" if kind is NoneType else getattr(origin or kind, "__name__", str(kind))
    inner = ", ".join("..." if one is ... else _type(one) for one in arguments)
    return f"{named}[{inner}]" if inner else named


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else dict(default) if isinstance(default, dict) else str(default)


def _show(told: list[dict[str, Any]]) -> None:
    for one in told:
        configured = ", ".join(one["configured"]) or "not configured"
        out.print(
            f"[bold]{one['name']}[/] {one['version']}: {escape(one['title'])} ({one['kind']}; {escape(configured)})"
        )
        for setting in one["settings"]:
            default = "required" if setting["required"] else f"default {_short(setting['default'])}"
            whose = "; the account's" if setting["account"] else ""
            say(f"  {setting['name']}: {setting['type']}, {default}{whose}")


def _short(default: Any) -> str:
    long = isinstance(default, list) and len(default) > _MOST_SHOWN
    return f"{len(default)} entries, see --json" if long else repr(default)
