"""The database under test, and what of it lies on the disk."""

from __future__ import annotations

from pathlib import Path

from aggregator.vault.store import Store


def stored_bytes(store: Store) -> bytes:
    """Every byte of the folder that the database lies in: what a thief of the disk has."""
    return b"".join(file.read_bytes() for file in sorted(Path(store.place).parent.iterdir()))
