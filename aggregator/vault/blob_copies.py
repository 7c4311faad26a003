"""Sealed attachments beside a backup: copied with their hashes, and put back where they are still what was copied.

DIR/blobs/<id>      the stored object, byte for byte; the manifest names each with its SHA-256 (FORMAT.md section 15)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from aggregator.errors import Tampered
from aggregator.vault import key_files
from aggregator.vault.blob_store import BlobStore

_FOLDER = "blobs"
_PIECE = 1 << 18


def copy(blobs: BlobStore, folder: Path) -> Mapping[str, str]:
    """All objects into the folder of a backup, on the disk when this returns: id -> SHA-256 in hex."""
    into = folder / _FOLDER
    into.mkdir(mode=0o700)
    copied = {}
    for blob, _ in blobs.ids():
        try:
            _, parts = blobs.read(blob, 0, 1 << 62)
        except Tampered:  # deleted meanwhile
            continue
        copied[blob] = _write(into / blob, parts)
    key_files.sync_folder(into)
    return copied


def put_back(blobs: BlobStore, folder: Path, copied: Mapping[str, str]) -> int:
    """Those that are not there yet; one that is there already is the same. How many there is no whole copy of."""
    there = {blob for blob, _ in blobs.ids()} if copied else set()
    missing = 0
    for blob in copied.keys() - there:
        file = folder / _FOLDER / blob
        if _hash(file) != copied[blob]:
            missing += 1
            continue
        with file.open("rb") as data:
            blobs.put(blob, iter(partial(data.read, _PIECE), b""))
    return missing


def _write(path: Path, parts: Iterator[bytes]) -> str:
    made = hashlib.sha256()
    with path.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        for part in parts:
            made.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return made.hexdigest()


def _hash(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
