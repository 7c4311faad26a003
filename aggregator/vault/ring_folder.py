"""The folder of a key ring: made, copied and put back, whole or not at all, for nobody but its owner to read."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

from aggregator.errors import OperatorError
from aggregator.vault import key_files, worker_keys
from aggregator.vault.master_key import FileKey, MasterKey
from aggregator.vault.ring_rows import RingRows

FILES = ("master.key", "worker.key", "feed.key", "ring.db", "counters.db", "destroyed")
_KEY_FILES = ("master.key", worker_keys.FILE, worker_keys.NEW, worker_keys.FEED)


def refuse_open_to_others(folder: Path) -> None:
    """Raises OperatorError."""
    for path in (folder, *(folder / name for name in FILES)):
        if path.exists():
            key_files.refuse_open_to_others(path)


def create(folder: Path, master: MasterKey | None) -> None:
    """A new key ring's. Raises OperatorError when there is something in the folder."""
    if folder.exists() and any(folder.iterdir()):
        raise OperatorError(f"{folder} is not empty; a new key ring never replaces what is there")
    made = folder.with_name(f".{folder.name}.part")
    rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700, parents=True)
    worker_keys.create(made)
    key_files.write(made / "counters.db", b"")
    RingRows.create(made / "ring.db", master or FileKey.create(made / "master.key"))
    made.rename(folder)
    key_files.sync_folder(folder.parent)


def copy_keys(folder: Path, into: Path) -> None:
    """Its key files, for a backup."""
    for name in _KEY_FILES:
        if (folder / name).exists():  # a master key in a token is backed up with the token
            key_files.write(into / name, (folder / name).read_bytes())


def restore(backup: Path, folder: Path, destroyed: Path) -> None:
    """Put a backup in an empty folder's place. The list of destroyed keys that is there already counts.

    Killed anywhere, it is done again: the list is always in the folder, or in what the folder was.
    """
    before = folder.with_name(f".{folder.name}.before")
    if before.exists() and not folder.exists():  # killed between the two names
        before.rename(folder)
    found = list(folder.iterdir()) if folder.exists() else []
    if any(path != destroyed for path in found):
        raise OperatorError(
            f"{folder} is not empty; a key ring never replaces what is there: move it away, but not its list of "
            "destroyed keys"
        )
    if not (backup / "ring.db").exists():
        raise OperatorError(f"{backup} holds no backup of a key ring")
    rmtree(before, ignore_errors=True)
    made = folder.with_name(f".{folder.name}.part")
    rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700, parents=True)
    for name in (*_KEY_FILES, "ring.db", "counters.db"):
        if (backup / name).exists():
            key_files.write(made / name, (backup / name).read_bytes())
    kept = destroyed if destroyed.exists() else backup / "destroyed"
    if kept.exists() and destroyed.parent == folder:
        key_files.write(made / "destroyed", kept.read_bytes())
    elif kept.exists() and kept != destroyed:
        key_files.write(destroyed, kept.read_bytes())
    if folder.exists():
        folder.rename(before)
    made.rename(folder)
    key_files.sync_folder(folder.parent)
    rmtree(before, ignore_errors=True)
