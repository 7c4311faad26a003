"""A PostgreSQL server that dies, or whose disk is full, at its n-th step or write; when it ends it is started again."""

from __future__ import annotations

import os
import pwd
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.faults.shim import Shim, build
from tests.postgresql import Server


class FaultyServer(Server):
    """Its processes have the shim, told through a file. Whoever runs a server starts it again when it ends; so here."""

    def __init__(self) -> None:
        super().__init__()
        self.data, self._alone = self._data, False
        self.control, library = Shim.control(self.folder / "control"), build(self.folder)
        if self._user:
            os.chown(self.control, pwd.getpwnam(self._user).pw_uid, -1)
        self._shimmed = {"LD_PRELOAD": str(library), "FAULT_CONTROL": str(self.control)}
        self.shim = Shim(self.control)
        self._ending = threading.Event()
        self._admin.close()
        self._process.terminate()
        self._keeper = threading.Thread(target=self._keep_running, daemon=True)
        self._keeper.start()
        self.mend()

    def mend(self) -> None:
        """No fault any more; returns when it answers."""
        self.shim.disarm()
        self._admin.close()
        for _ in range(1500):
            try:
                self._admin = self.connect("postgres")
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError("PostgreSQL did not start again: " + self.log()[-2000:])

    @contextmanager
    def killed_alone(self, alone: bool) -> Iterator[None]:
        """Inside, a process that is killed leaves the others as they are, or not."""
        self._alone = alone
        self._tell_family()
        try:
            yield
        finally:
            self._alone = False
            self._tell_family()

    def stop(self) -> None:
        self.mend()
        self._ending.set()
        super().stop()
        self._keeper.join(timeout=30)

    def _keep_running(self) -> None:
        while True:
            self._process.wait()
            if self._ending.is_set():
                return
            time.sleep(0.02)
            self._process = self._start(self._shimmed)
            self._tell_family()

    def _tell_family(self) -> None:
        self.shim.kill_family(0 if self._alone else self._process.pid)
