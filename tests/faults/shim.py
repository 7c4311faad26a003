"""The shim that counts and fails a process's writes: shim.c, loaded with LD_PRELOAD and told here what to do."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from enum import IntEnum
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


class Shim:
    """The shim inside a process that was started with it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.fault_arm.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_long)
        for name in ("fault_steps", "fault_writes"):
            getattr(self._library, name).restype = ctypes.c_long

    def arm(self, folder: Path, fault: Fault, at: int) -> None:
        """Count from nothing what is done below the folder; at the n-th time, counted from 1, the fault."""
        self._library.fault_arm(f"{folder}/".encode(), int(fault), at)

    def disarm(self) -> None:
        self._library.fault_disarm()

    def step(self) -> None:
        """A durable step that is no file's: a commit of a database elsewhere, an acknowledgement."""
        self._library.fault_step()

    def counts(self) -> tuple[int, int]:
        """(durable steps, writes) since it was armed, in this process and those it forked."""
        return self._library.fault_steps(), self._library.fault_writes()
