"""Both kinds of store keep the same promises: whole or not at all, durable, and names that tell nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.errors import BlobsUnreachable, OperatorError, Tampered
from aggregator.vault import blob, blob_store
from aggregator.vault.blob_store import BlobStore, LocalBlobs, copy
from tests.vault.s3_server import S3Server, free_port
from tests.weaken import weakens

pytestmark = pytest.mark.storeless

VAULT = "aaaqeayeaudaocajbifqydiob4"
ID, OTHER = "a2" * 13, "b3" * 13
HERE = Path(__file__).parents[2]
MEGABYTES = int(os.environ.get("AGGREGATOR_TEST_BLOB_MEGABYTES", "160"))


def whole(store: BlobStore, name: str = ID) -> bytes:
    size, _ = store.read(name, 0, 1)
    return b"".join(store.read(name, 0, size)[1])


def breaking() -> Iterator[bytes]:
    yield bytes(1000)
    raise RuntimeError("the source broke off")


def test_what_was_put_is_read_whole_and_in_part(blobs: BlobStore) -> None:
    text = bytes(range(256)) * 40_000
    blobs.put(ID, iter([text[:5], text[5:]]))
    assert whole(blobs) == text
    size, parts = blobs.read(ID, 1_000_000, 1_000_300)
    assert (size, b"".join(parts)) == (len(text), text[1_000_000:1_000_300])
    assert b"".join(blobs.read(ID, len(text) - 5, len(text) + 5)[1]) == text[-5:]


def test_what_is_not_there_is_said_to_be_gone(blobs: BlobStore) -> None:
    with pytest.raises(Tampered, match="is not there"):
        blobs.read(ID, 0, 5)
    blobs.delete(ID)


def test_a_range_behind_the_end_gives_nothing_but_the_size(blobs: BlobStore) -> None:
    blobs.put(ID, [b"short"])
    size, parts = blobs.read(ID, 100, 200)
    assert (size, b"".join(parts)) == (5, b"")


def test_they_are_listed_with_their_time_and_deleted(blobs: BlobStore) -> None:
    blobs.put(ID, [b"one"])
    blobs.put(OTHER, [b"two"])
    assert sorted(name for name, _ in blobs.ids()) == [ID, OTHER]
    assert all(at > 1_700_000_000 for _, at in blobs.ids())
    blobs.delete(ID)
    assert [name for name, _ in blobs.ids()] == [OTHER]


def test_an_upload_that_breaks_off_leaves_no_object(blobs: BlobStore) -> None:
    with pytest.raises(RuntimeError, match="the source broke off"):
        blobs.put(ID, breaking())
    assert list(blobs.ids()) == []


def test_a_blob_goes_there_and_back(blobs: BlobStore) -> None:
    text = os.urandom(300_000)
    made = blob.write(blobs, VAULT, [text])
    assert b"".join(blob.read(blobs, VAULT, made)) == text
    assert b"".join(blob.read(blobs, VAULT, made, 200_000, 200_100)) == text[200_000:200_100]


def test_a_copy_in_another_store_is_the_same_blob(blobs: BlobStore, tmp_path: Path) -> None:
    made, backup = blob.write(blobs, VAULT, [b"a letter"]), LocalBlobs(tmp_path / "backup")
    copy(blobs, backup, [name for name, _ in blobs.ids()])
    assert b"".join(blob.read(backup, VAULT, made)) == b"a letter"


@pytest.mark.attack(21)
@weakens("aggregator.vault.blob", "_refuse_other_length", lambda _total, _expected: None)
def test_one_that_was_cut_or_deleted_is_noticed(blobs: BlobStore) -> None:
    made = blob.write(blobs, VAULT, [bytes(300_000)])
    stored = whole(blobs, made.id)
    blobs.put(made.id, [stored[:100_000]])
    for start in (0, 250_000):
        with pytest.raises(Tampered, match="another length"):
            list(blob.read(blobs, VAULT, made, start))
    blobs.delete(made.id)
    with pytest.raises(Tampered, match="is not there"):
        list(blob.read(blobs, VAULT, made))


@pytest.mark.attack(20, 32)
@weakens(
    "aggregator.vault.stream",
    "AESGCM",
    type("None_", (), {"__init__": lambda *_: None, "encrypt": lambda *a: a[2]}),
    about=(20,),
)
def test_no_canary_lies_in_the_store_and_no_name_tells_a_vault(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path / "blobs")
    blob.write(store, VAULT, [b"CANARY" * 20_000])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"CANARY" in path.read_bytes() for path in files)
    assert not any(VAULT in str(path) for path in files)


# --- the folder


def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path / "blobs")
    store.put(ID, [b"x"])
    modes = [path.stat().st_mode & 0o777 for path in sorted((tmp_path / "blobs").rglob("*"))]
    assert [(tmp_path / "blobs").stat().st_mode & 0o777, *modes] == [0o700, 0o700, 0o600]
    (tmp_path / "blobs").chmod(0o750)
    with pytest.raises(OperatorError, match="chmod 700"):
        LocalBlobs(tmp_path / "blobs")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match=r"blobs\.url: the folder"):
        LocalBlobs(tmp_path / "file" / "blobs").put(ID, [b"x"])


def test_a_put_is_on_the_disk_under_its_name_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, done = LocalBlobs(tmp_path / "blobs"), list[str]()
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda file: (done.append(Path(f"/proc/self/fd/{file}").readlink().name), sync(file))
    )
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    store.put(ID, [b"x"])
    assert done == [tmp_path.name, f"{ID}.part", "replace", ID[:2], "blobs"]


def test_what_an_upload_left_is_cleaned_once_it_is_old(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path / "blobs")
    store.put(ID, [b"x"])
    left = tmp_path / "blobs" / ID[:2] / f"{OTHER}.part"
    left.write_bytes(b"half")
    store.clean(left.stat().st_mtime - 1)
    assert left.exists()
    store.clean(left.stat().st_mtime + 1)
    assert not left.exists()
    assert [name for name, _ in store.ids()] == [ID]


# --- the server


def test_a_server_that_is_not_there_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_store, "_RETRIES", {"max_retries": 0})
    store = S3Server(f"http://127.0.0.1:{free_port()}").store("nowhere")
    for attempt in (
        lambda: store.put(ID, [b"x"]),
        lambda: store.read(ID, 0, 1),
        lambda: store.delete(ID),
        lambda: list(store.ids()),
    ):
        with pytest.raises(BlobsUnreachable, match=r"^blobs\.url: the store does not answer") as told:
            attempt()
        assert "127.0.0.1" not in str(told.value)


def test_a_bucket_that_is_not_there_is_the_operators_to_mend(s3_server: S3Server) -> None:
    with pytest.raises(BlobsUnreachable):
        s3_server.store("no-such-bucket").put(ID, [b"x"])


# --- memory


def grown(target: str) -> int:
    command = [sys.executable, "-m", "tests.vault.blob_memory", str(MEGABYTES), target]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=280, check=True)
    return int(done.stdout)


def test_a_large_blob_takes_little_memory_in_a_folder(tmp_path: Path) -> None:
    assert grown(str(tmp_path / "blobs")) < 64_000_000


def test_a_large_blob_takes_little_memory_on_a_server(s3_server: S3Server) -> None:
    s3_server.bucket("large")
    assert grown(f"{s3_server.endpoint} large") < 64_000_000
