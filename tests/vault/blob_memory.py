"""How much memory one blob takes on its way up and down: `python -m tests.vault.blob_memory MEGABYTES TARGET`.

TARGET: a folder, or an S3 server's address and bucket, divided by a blank. Prints the growth of the resident memory's
peak in bytes, after a first small blob has loaded all that there is to load.
"""

from __future__ import annotations

import hashlib
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from aggregator.vault import blob
from aggregator.vault.blob_store import BlobStore, LocalBlobs
from tests.vault.s3_server import S3Server

VAULT = "aaaqeayeaudaocajbifqydiob4"
MEGABYTE = 1024 * 1024


def text(megabytes: int) -> Iterator[bytes]:
    """Bytes that differ from chunk to chunk."""
    for number in range(megabytes):
        yield number.to_bytes(8, "big") * (MEGABYTE // 8)


def there_and_back(store: BlobStore, megabytes: int) -> None:
    made = blob.write(store, VAULT, text(megabytes))
    found = hashlib.sha256()
    for part in blob.read(store, VAULT, made):
        found.update(part)
    assert (made.size, made.sha256) == (megabytes * MEGABYTE, found.hexdigest())


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def target(named: str) -> BlobStore:
    endpoint, _, bucket = named.partition(" ")
    return S3Server(endpoint).store(bucket) if bucket else LocalBlobs(Path(named))


def main(megabytes: int, named: str) -> None:
    store = target(named)
    there_and_back(store, 1)
    before = peak()
    there_and_back(store, megabytes)
    sys.stdout.write(f"{peak() - before}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
