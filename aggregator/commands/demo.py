"""`aggregator demo`: a whole small world on loopback, synced and served."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.markup import escape
from rich.table import Table

from aggregator.api.service import Service
from aggregator.app import open_service
from aggregator.commands.common import AsJson, note, observer, out, print_json, progress, say, table
from aggregator.config import Config
from aggregator.demo.data_folder import DataFolder
from aggregator.demo.outcome import outcome
from aggregator.demo.world import Served, World, main_job, serving
from connectors.contract import Clock
from fhir_profiles.profiles import SECTIONS

_ADDRESSES = Path("demo.json")
_SOURCE_COLUMNS = ("found", "stored", "unchanged", "quarantined", "deleted")


def demo(
    home: Annotated[Path, typer.Option(help="Folder of the world: store, keys, people, sources.")] = Path("demo-home"),
    data: Annotated[Path | None, typer.Option(help="Folder of FHIR Bundles: one more patient for each.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Run the main job, print the outcome, stop.")] = False,
    as_json: AsJson = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it listens; 0 takes a free port.")] = 8080,
) -> None:
    """A small world on this machine: sources, patients, providers, consents; synced, then served until Ctrl-C.

    Example: aggregator demo --once
    """
    with serving(home, data, port, _open) as served:
        _tell_of_folder(served.data)
        world = _run(served)
        told = asyncio.run(outcome(world))
        if as_json:
            print_json(told)
        else:
            _show(world, told)
        if not once:
            world.write_addresses(_ADDRESSES)
            _tell_what_next(world)
            _wait()


class _Direct(httpx.AsyncClient):
    """The demo's sources are on loopback: no proxy of the environment is asked."""

    def __init__(self) -> None:
        super().__init__(trust_env=False)


def _open(config: Config, clock: Clock) -> Service:
    return open_service(config, clock, client=_Direct)


def _run(served: Served) -> World:
    with progress() as bars:
        moving = bars.add_task("patients", total=None)

        def moved_in(done: int, of: int) -> None:
            bars.update(moving, completed=done, total=of)

        return asyncio.run(main_job(served, moved_in, observer(bars, str)))


def _tell_of_folder(data: DataFolder | None) -> None:
    """Nothing of the folder is passed over in silence."""
    for file, why in data.refused if data else ():
        note.print(f"not taken: {escape(file)}: {escape(why)}")
    for file in data.ignored if data else ():
        note.print(f"ignored: {escape(file)}: its name ends in neither .json nor .xml")


def _show(world: World, told: Mapping[str, Any]) -> None:
    names = {one.id: one.resident.name for one in world.patients}
    out.print(_sources(told))
    out.print(_patients(told))
    out.print(_providers(told, names))
    if "data" in told:
        say("Data folder: " + ", ".join(f"{value} {name}" for name, value in told["data"].items()))
    ratio = told["stored_bytes"] / max(told["raw_bytes"], 1)
    say(
        f"Synced in {told['seconds']:.1f} s. {told['receipts']} receipts. "
        f"{told['raw_bytes']:,} bytes of JSON lie in {told['stored_bytes']:,} bytes, sealed ({ratio:.2f})."
    )


def _sources(told: Mapping[str, Any]) -> Table:
    made = table("Sources", "connection", numbers=_SOURCE_COLUMNS)
    made.add_column("status")
    for row in told["sources"]:
        status = " ".join(filter(None, (row["status"], row.get("error", ""))))
        made.add_row(row["connection"], *(str(row[name]) for name in _SOURCE_COLUMNS), escape(status))
    return made


def _patients(told: Mapping[str, Any]) -> Table:
    made = table("Patients", "name", numbers=("resources",))
    made.add_column("sections")
    for row in told["patients"]:
        held = ", ".join(f"{SECTIONS[name].en} {count}" for name, count in row["sections"].items() if count)
        made.add_row(escape(row["name"]), str(row["resources"]), escape(held))
    return made


def _providers(told: Mapping[str, Any], names: Mapping[str, str]) -> Table:
    made = table("Who sees how much of whose record", "provider", "patient", numbers=("visible", "withheld"))
    for row in told["providers"]:
        made.add_row(row["name"], escape(names[row["patient"]]), str(row["visible"]), str(row["withheld"]))
    return made


def _tell_what_next(world: World) -> None:
    patient, provider = world.patients[0], world.providers[0]
    note.print(
        f"""
Served at {world.base_url} until Ctrl-C. {_ADDRESSES} holds every sign-in.

{patient.resident.name} reads what was gathered, and who has read it:
  curl -H "Authorization: Bearer {patient.token}" \\
    "{world.base_url}/fhir/Observation?code=http://loinc.org|4548-4&_count=3"
  curl -H "Authorization: Bearer {patient.token}" "{world.base_url}/fhir/AuditEvent?_count=5"

{provider.provider.name} reads what {patient.resident.name} has opened:
  curl -H "Authorization: Bearer {provider.token}" \\
    "{world.base_url}/fhir/Patient/{patient.id}/\\$everything?_count=5"

{patient.resident.name} signs in again:
  curl -H "Content-Type: application/json" \\
    -d '{{"login": "{patient.login}", "password": "{patient.password}"}}' {world.base_url}/auth/sign-in

The operator's commands on the same world:
  aggregator --config {world.served.home.config} sync
""",
        markup=False,
    )


def _wait() -> None:
    """Until Ctrl-C or SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: ended.set())
    with suppress(KeyboardInterrupt):
        ended.wait()
