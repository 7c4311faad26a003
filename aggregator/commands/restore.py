"""`aggregator restore`: a backup into an empty installation. What was destroyed since stays destroyed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from sqlmodel import Session, select

from aggregator.app import master_key
from aggregator.audit import receipts
from aggregator.audit.receipts import SYSTEM, Opening
from aggregator.commands.common import AsJson, config_file, print_json, progress, say
from aggregator.config import Config, load
from aggregator.errors import OperatorError
from aggregator.identity import unlockers
from aggregator.identity.tables import Unlocker
from aggregator.vault import blob_copies, dump, restoring, ring_folder, tables, truth
from aggregator.vault.blob_store import open_blobs
from aggregator.vault.key_ring import KeyRing
from aggregator.vault.restoring import Restored
from aggregator.vault.seal import FORMAT
from aggregator.vault.store import Store
from connectors.contract import utc_now


def restore(
    context: typer.Context,
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="The folder that `backup --to` wrote; without it the key ring alone is put back."),
    ] = None,
    keys_from: Annotated[
        Path | None, typer.Option(help="The folder that `backup --keys-to` wrote, where the key ring is lost too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup where the configuration says, into an empty store. All sign-ins end; patients see the gap.

    Example: aggregator restore --from /backup/store-0311
    """
    config = load(config_file(context))
    if from_ is None:
        _ring_alone(config, keys_from, as_json=as_json)
        return
    manifest = dump.read(from_)
    if manifest.store_format != FORMAT:
        raise OperatorError(f"{from_} holds vaults of format {manifest.store_format}; this version reads {FORMAT}")
    with ExitStack() as opened:
        store = Store.of(config.store)
        opened.callback(store.close)
        store.create()
        _refuse_filled(store)
        ring = _ring(config, keys_from)
        opened.callback(ring.close)
        if ring.ring != manifest.ring:
            raise OperatorError(f"{from_} belongs to another key ring; restore the one that was backed up with it")
        opened.enter_context(ring.alone())  # its counters become this store's: nobody else's may be there
        missing = blob_copies.put_back(open_blobs(config.blobs), from_, manifest.blobs)
        made = _load(store, ring, from_)
    told = {
        "vaults": made.vaults - 1,  # the system's chain is none
        "behind": made.behind,
        "ended_grants": made.ended_grants,
        "left_out": made.left_out,
        "missing_attachments": missing,
    }
    if as_json:
        print_json(told)
        return
    say(
        f"{told['vaults']} vaults are restored; {told['behind']} of them have lost something, as their patients see; "
        f"{told['ended_grants']} grants ended; {told['left_out']} vaults were erased since and stay so."
    )
    if missing:
        say(f"{missing} attachments are missing: their copies are not in {from_}, or are not what was copied.")


def _refuse_filled(store: Store) -> None:
    with store.read() as session:
        if session.get(tables.Installation, 1) is not None:
            raise OperatorError(f"{store.place} holds an installation; restore into an empty store, or move it away")


def _ring_alone(config: Config, backup: Path | None, *, as_json: bool) -> None:
    """The key ring is lost and the database is not: it stays as it is."""
    if backup is None:
        raise typer.BadParameter("name --from, or --keys-from, or both")
    ring = _ring(config, backup)
    name = ring.ring
    ring.close()
    if as_json:
        print_json({"ring": name})
    else:
        say(f"The key ring is in {config.keys.folder}, without the keys that were destroyed since it was backed up.")


def _ring(config: Config, backup: Path | None) -> KeyRing:
    folder, listed = config.keys.folder, config.keys.destroyed_list
    if (folder / "ring.db").exists():
        if backup:
            raise OperatorError(f"--keys-from: {folder} holds a key ring, newer than any backup; leave the option out")
    elif backup:
        ring_folder.restore(backup, folder, listed)
    else:
        raise OperatorError(f"keys.folder: {folder} holds no key ring; name its backup with --keys-from")
    return KeyRing(folder, listed, master_key(config))


def _load(store: Store, ring: KeyRing, folder: Path) -> Restored:
    gone = _gone(ring, folder)
    with progress() as bars, store.write() as session:
        task = bars.add_task("rows", total=None)

        def observe(table: str, done: int) -> None:
            bars.update(task, description=table, completed=done)

        dump.load(session, folder, gone, observe)
        unlockers.restore(ring, session.exec(select(Unlocker)).all())

        def receipt(session: Session, row: tables.Vault, gap: str) -> None:
            _receipt(session, ring, row, gap)

        made = restoring.mend(session, ring, receipt, len(gone))
        # Before the commit: afterwards a crash would leave counters that refuse what was restored.
        session.get_one(tables.Installation, 1).generation = ring.new_generation(made.heads)
    ring.restored()
    return made


def _gone(ring: KeyRing, folder: Path) -> Collection[str]:
    """The vaults whose shred key is destroyed: nothing of them could ever be opened."""
    table = tables.Vault.metadata.tables["vault"]
    found: Iterator[str] = (str(row["id"]) for row in dump.rows(folder, table))
    return frozenset(vault for vault in found if vault != SYSTEM and not ring.holds_vault(vault))


def _receipt(session: Session, ring: KeyRing, row: tables.Vault, gap: str) -> None:
    opening = Opening(row.id, truth.audit_key(row, ring.verification_key(row.id)))
    entry = {
        "kind": "restored",
        "at": utc_now().isoformat(timespec="milliseconds"),
        "interaction": "operation",
        "party": "operator",
        "name": "operator",
        "reason": gap,
    }
    receipts.commit(session, ring, [opening.first(entry)])
