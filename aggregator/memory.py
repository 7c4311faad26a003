"""What is open in this process's memory stays there: no core file, no look from outside, and nothing swaps.

https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html and
https://man7.org/linux/man-pages/man2/mlockall.2.html. Python cannot wipe memory: this narrows who may read it, no more.
"""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

_SET_DUMPABLE = 4  # <sys/prctl.h>
_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4  # <sys/mman.h>: what is mapped now, what will be, and no page before it is used
_IPC_LOCK = 14  # <linux/capability.h>
_STATUS, _SWAPS = Path("/proc/self/status"), Path("/proc/swaps")


def keep_in() -> None:
    """Once for a process, before anything is opened. What the machine does not permit is left; see `swaps`."""
    no_core_file()
    no_dump()
    no_swap()


def no_core_file() -> None:
    """None is written, and none is asked for again: the hard limit is 0 too."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def no_dump() -> None:
    """No debugger of the same user attaches, and no crash handler is handed the memory (it minds no limit)."""
    if _STATUS.exists():  # Linux
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)


def no_swap() -> None:
    """Where the process may lock all it will ever use: under a limit, later allocations would fail instead."""
    if may_lock():
        ctypes.CDLL(None).mlockall(_CURRENT | _FUTURE | _ON_FAULT)


def may_lock() -> bool:
    """Whether nothing limits how much memory this process may lock."""
    if not _STATUS.exists():
        return False
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    return unlimited or bool(int(_status("CapEff"), 16) >> _IPC_LOCK & 1)


def swaps() -> bool:
    """Whether this process's memory may reach a disk: it is not locked, and the machine has a place to swap to."""
    if not _STATUS.exists():
        return True
    return _status("VmLck").split()[0] == "0" and len(_SWAPS.read_text().splitlines()) > 1


def _status(name: str) -> str:
    lines = (line.partition(":") for line in _STATUS.read_text().splitlines())
    return next(value.strip() for key, _, value in lines if key == name)
