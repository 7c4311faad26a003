"""The shim that counts and fails a process's writes: shim.c, loaded with LD_PRELOAD and told here what to do."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from mmap import mmap
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")


class Fault(IntEnum):
    """What happens at the n-th step or write; the numbers are shim.c's."""

    NONE = 0
    KILL_AT_STEP = 1
    KILL_AT_WRITE = 2
    DISK_FULL = 3
    DISK_BROKEN = 4
    DISK_FULL_ONCE = 5


def missing() -> str:
    """Why the shim cannot be built here; empty where it can."""
    return "" if shutil.which("cc") else "no C compiler (cc) is here: the faults' shim cannot be built"


def build(folder: Path) -> Path:
    """Compile shim.c; returns the library."""
    library = folder / "shim.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", library, SOURCE, "-ldl"], check=True
    )
    return library


class State(ctypes.Structure):
    """What shim.c shares with whoever tells it what to do."""

    _fields_ = (
        ("steps", ctypes.c_long),
        ("writes", ctypes.c_long),
        ("at", ctypes.c_long),
        ("kind", ctypes.c_int),
        ("family", ctypes.c_int),
        ("under", ctypes.c_char * 4096),
    )


class Shim:
    """The shim inside a process that was started with it, or the one of a server that was told of a control file."""

    def __init__(self, control: Path | None = None) -> None:
        if control is None:
            self._library = ctypes.CDLL(None)
            self._library.fault_state.restype = ctypes.c_void_p
            self._state = State.from_address(self._library.fault_state())
            return
        with control.open("r+b") as file:
            self._state = State.from_buffer(mmap(file.fileno(), ctypes.sizeof(State)))

    @staticmethod
    def control(file: Path) -> Path:
        """Make the file that FAULT_CONTROL names; who is started with it must be able to write it."""
        file.write_bytes(bytes(ctypes.sizeof(State)))
        return file

    def arm(self, folder: Path, fault: Fault, at: int) -> None:
        """Count from nothing what is done below the folder; at the n-th time, counted from 1, the fault."""
        self.disarm()
        self._state.steps = self._state.writes = 0
        self._state.under, self._state.at = f"{folder}/".encode(), at
        self._state.kind = int(fault)

    def disarm(self) -> None:
        self._state.kind = int(Fault.NONE)

    def kill_family(self, first: int) -> None:
        """From now on who is killed takes this process and its children along; 0: nobody."""
        self._state.family = first

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """What is done inside is no matter of the process under test."""
        under, self._state.under = self._state.under, b""
        yield
        self._state.under = under

    def step(self) -> None:
        """A durable step that is no file's: a commit of a database elsewhere, an acknowledgement."""
        self._library.fault_step()

    def counts(self) -> tuple[int, int]:
        """(durable steps, writes) since it was armed, in this process and those it forked."""
        return self._state.steps, self._state.writes
