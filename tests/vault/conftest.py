"""What the tests of blobs need: both kinds of store, the S3 one in a server process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.vault.blob_store import BlobStore, LocalBlobs
from tests.vault.s3_server import S3Server, serving


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with serving() as server:
        yield server


@pytest.fixture(params=["folder", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """An empty store of either kind."""
    if request.param == "folder":
        return LocalBlobs(tmp_path / "blobs")
    server: S3Server = request.getfixturevalue("s3_server")
    return server.bucket(f"b{abs(hash(str(tmp_path)))}")
