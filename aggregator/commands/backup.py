"""`aggregator backup`: the database and the key ring, each into a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from aggregator.api.service import Service
from aggregator.commands.common import AsJson, note, opened, print_json, progress, say
from aggregator.config import Config
from aggregator.errors import OperatorError
from aggregator.vault import blob_copies, blob_rows, dump
from aggregator.vault.blob_store import LocalBlobs
from aggregator.vault.encoding import instant
from aggregator.vault.key_ring import KeyRing


def backup(
    context: typer.Context,
    to: Annotated[Path, typer.Option(help="An empty folder for the database and the attachments.")],
    keys_to: Annotated[
        Path | None,
        typer.Option(help="An empty folder for the key ring, on another disk; without it the ring is left out."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a consistent backup while the service runs. What is in --to opens with the key ring alone.

    Example: aggregator backup --to /backup/store-0311 --keys-to /other-disk/keys-0311
    """
    with opened(context) as service:
        for folder in filter(None, (to, keys_to)):
            _refuse(folder, service.config)
        if keys_to and _nested(to, keys_to):
            raise OperatorError("--keys-to: the keys never lie in the backup that they open; name a folder elsewhere")
        manifest = _write(service, to)
        if keys_to:  # after the database, so that it holds the keys of all that is in there
            _made(keys_to)
            ring = service.key_service
            if not isinstance(ring, KeyRing):
                raise OperatorError("--keys-to: an external key service is backed up by its own means")
            ring.backup(keys_to)
    rows = sum(one.rows for one in manifest.tables.values())
    if as_json:
        print_json({"rows": rows, "tables": len(manifest.tables), "ring": manifest.ring, "keys": bool(keys_to)})
    else:
        say(f"{rows} rows of {len(manifest.tables)} tables are in {to}.")
    if not keys_to:
        note.print("The key ring is not in it: without the ring nothing of this opens.", markup=False)


def _write(service: Service, to: Path) -> dump.Manifest:
    _made(to)
    with progress() as bars:
        task = bars.add_task("rows", total=None)

        def observe(table: str, done: int) -> None:
            bars.update(task, description=table, completed=done)

        with service.store.read() as session:
            manifest = dump.write(session, to, instant(service.clock()), observe)
        manifest = replace(manifest, blobs=_blobs(service, to))
        dump.finish(to, manifest)
    return manifest


def _blobs(service: Service, to: Path) -> Mapping[str, str]:
    """The sealed attachments of a local folder; a bucket keeps its own versions and copies."""
    if not isinstance(service.blobs, LocalBlobs):
        note.print("The attachments lie in a bucket and are not in it: keep versions of the bucket.", markup=False)
        return {}
    copied = blob_copies.copy(service.blobs, to)
    if lost := sum(blob not in copied for blob in blob_rows.named(service.store)):
        note.print(f"{lost} attachments that records name are not in the store of attachments.", markup=False)
    return copied


def _refuse(folder: Path, config: Config) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OperatorError(f"{folder} is not empty; a backup never overwrites anything")
    for live in (config.keys.folder, config.store.path.parent):
        if _nested(folder, live):
            raise OperatorError(f"{folder} lies in {live} or around it; a backup belongs elsewhere")


def _nested(one: Path, other: Path) -> bool:
    first, second = one.resolve(), other.resolve()
    return first == second or first in second.parents or second in first.parents


def _made(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
