"""Where sealed blobs lie: a local folder, or a bucket of an S3-compatible store. Neither holds anything in clear.

An object's name is its random id behind that id's first two characters, so a name tells nothing, not even which blobs
are one vault's; what belongs to a vault stands in the table `blob`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from aggregator.config import BlobSettings
from aggregator.errors import BlobsUnreachable, OperatorError, Tampered

if TYPE_CHECKING:
    from obstore.store import RetryConfig, S3Config

_PIECE = 256 * 1024  # bytes read at a time
# A part of an upload; S3 takes at most 10,000 of them, so a blob may have 80 GB. Two at once bound the memory.
_PART, _AT_ONCE = 8 * 1024 * 1024, 2
_UNFINISHED = ".part"
_MISSING = (NotFoundError, FileNotFoundError)  # the client raises the one or the other
_RETRIES: RetryConfig = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}


class BlobStore(Protocol):
    """Objects by their random id, written once and never changed.

    Raises BlobsUnreachable where it does not answer, Tampered where what should be there is not.
    """

    def put(self, blob: str, parts: Iterable[bytes]) -> None:
        """Store an object, whole or not at all; it is durable on return."""

    def read(self, blob: str, start: int, end: int) -> tuple[int, Iterator[bytes]]:
        """(the whole object's size, its bytes from start to end or to where it ends)."""

    def delete(self, blob: str) -> None:
        """Let an object go, if it is there."""

    def ids(self) -> Iterator[tuple[str, float]]:
        """(id, Unix time of writing) of every object: for the sweep and for backups."""

    def clean(self, before: float) -> None:
        """Let go what uploads left that were begun before this Unix time and never ended."""


class LocalBlobs:
    """A folder that its owner alone may enter."""

    def __init__(self, folder: Path) -> None:
        """The folder is made with the first object. Raises OperatorError where others can enter it."""
        self._folder = folder
        if folder.is_dir() and folder.stat().st_mode & 0o077:
            raise OperatorError(f"blobs.url: others can enter {folder}; run: chmod 700 {folder}")

    def put(self, blob: str, parts: Iterable[bytes]) -> None:
        path = self._path(blob)
        self._make_folders(path.parent)
        unfinished = path.with_suffix(_UNFINISHED)
        try:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 - of a descriptor, for its mode
                for part in parts:
                    _write_all(file.fileno(), part)
                os.fsync(file.fileno())
            os.replace(unfinished, path)  # noqa: PTH105 - the name that faults are injected at
        except BaseException:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        _sync_folder(self._folder)

    def read(self, blob: str, start: int, end: int) -> tuple[int, Iterator[bytes]]:
        try:
            size = self._path(blob).stat().st_size
        except FileNotFoundError:
            raise Tampered("a stored blob is not there") from None
        return size, self._pieces(blob, start, end)

    def delete(self, blob: str) -> None:
        self._path(blob).unlink(missing_ok=True)

    def ids(self) -> Iterator[tuple[str, float]]:
        for path in self._folder.glob("??/*"):
            if path.suffix != _UNFINISHED:
                with suppress(FileNotFoundError):  # deleted meanwhile
                    yield path.name, path.stat().st_mtime

    def clean(self, before: float) -> None:
        for path in self._folder.glob(f"??/*{_UNFINISHED}"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    def _make_folders(self, inner: Path) -> None:
        try:
            if not self._folder.is_dir():
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sync_folder(self._folder.parent)
            inner.mkdir(mode=0o700, exist_ok=True)
        except (FileExistsError, NotADirectoryError, PermissionError):
            raise OperatorError(f"blobs.url: the folder {self._folder} cannot be made; name another") from None

    def _pieces(self, blob: str, start: int, end: int) -> Iterator[bytes]:
        with self._path(blob).open("rb") as file:
            file.seek(start)
            while start < end and (piece := file.read(min(_PIECE, end - start))):
                start += len(piece)
                yield piece

    def _path(self, blob: str) -> Path:
        return self._folder / blob[:2] / blob


class S3Blobs:
    """A bucket, or a part of one, by the S3 protocol. The endpoint is the operator's setting, nobody else's."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str = "",
        region: str = "us-east-1",
        credentials: tuple[str, str] | None = None,
    ) -> None:
        """credentials: (access key id, secret access key); None takes them from the environment (AWS_...)."""
        config: S3Config = {"region": region}
        if endpoint:
            config["endpoint"] = endpoint
        if credentials:
            config["access_key_id"], config["secret_access_key"] = credentials
        try:
            self._store = S3Store(
                bucket,
                prefix=prefix or None,
                config=config,
                client_options={"allow_http": endpoint.startswith("http://")},
                retry_config=_RETRIES,
            )
        except BaseError:
            raise OperatorError("blobs: the settings of the S3 store are not such as it takes") from None

    def put(self, blob: str, parts: Iterable[bytes]) -> None:
        with _answering():
            obstore.put(self._store, _name(blob), iter(parts), chunk_size=_PART, max_concurrency=_AT_ONCE)

    def read(self, blob: str, start: int, end: int) -> tuple[int, Iterator[bytes]]:
        try:
            found = obstore.get(self._store, _name(blob), options={"range": (start, end)})
        except _MISSING:
            raise Tampered("a stored blob is not there") from None
        except (BaseError, OSError):
            return self._size(blob, end), iter(())
        return found.meta["size"], _streamed(found.stream(min_chunk_size=_PIECE))

    def delete(self, blob: str) -> None:
        with _answering(), suppress(*_MISSING):
            obstore.delete(self._store, _name(blob))

    def ids(self) -> Iterator[tuple[str, float]]:
        with _answering():
            for batch in obstore.list(self._store, chunk_size=1000):
                for found in batch:
                    yield found["path"].rpartition("/")[2], found["last_modified"].timestamp()

    def clean(self, before: float) -> None:
        """Nothing: what an upload left unfinished is no object; the bucket's lifecycle rule lets it go."""

    def _size(self, blob: str, end: int) -> int:
        """Of an object that did not give the range. Raises BlobsUnreachable where it should have."""
        with _answering():
            size: int = obstore.head(self._store, _name(blob))["size"]
        if size >= end:
            raise BlobsUnreachable("blobs.url: the store does not answer")
        return size


def open_blobs(settings: BlobSettings) -> BlobStore:
    """The store that is set. Nothing is sent anywhere before it is used. Raises OperatorError."""
    if settings.folder is not None:
        return LocalBlobs(settings.folder)
    bucket, _, prefix = settings.url.removeprefix("s3://").partition("/")
    file = Path(settings.credentials_file) if settings.credentials_file else None
    return S3Blobs(
        bucket,
        prefix.strip("/"),
        endpoint=settings.endpoint,
        region=settings.region,
        credentials=_credentials(file) if file else None,
    )


def _credentials(file: Path) -> tuple[str, str]:
    try:
        if file.stat().st_mode & 0o077:
            raise OperatorError(f"blobs.credentials_file: others can read {file}; run: chmod 600 {file}")
        told = tomllib.loads(file.read_text(encoding="utf-8"))
        return str(told["access_key_id"]), str(told["secret_access_key"])
    except (OSError, ValueError, KeyError):
        raise OperatorError(
            f"blobs.credentials_file: {file} is not a TOML file with access_key_id and secret_access_key"
        ) from None


def copy(source: BlobStore, target: BlobStore, blobs: Iterable[str]) -> None:
    """Sealed objects from one store into another, as they are: a backup, or its restore."""
    for blob in blobs:
        size, _ = source.read(blob, 0, 1)
        target.put(blob, source.read(blob, 0, size)[1])


@contextmanager
def _answering() -> Iterator[None]:
    """The client's own words may hold an address or a key's id: they stay inside."""
    try:
        yield
    except _MISSING:
        raise BlobsUnreachable("blobs.url: there is no such bucket") from None
    except (BaseError, OSError) as error:
        raise BlobsUnreachable(f"blobs.url: the store does not answer ({type(error).__name__})") from None


def _streamed(stream: Iterable[bytes]) -> Iterator[bytes]:
    with _answering():
        yield from map(bytes, stream)


def _name(blob: str) -> str:
    return f"{blob[:2]}/{blob}"


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
