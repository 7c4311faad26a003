"""What a command's process permits: `python -m tests.probe_memory [NAME]` prints it as JSON, as any command would run.

NAME: a function of aggregator.memory that does nothing in the weakened build.
"""

from __future__ import annotations

import ctypes
import json
import resource
import sys

from aggregator import __main__ as command_line
from aggregator import memory

_GET_DUMPABLE = 3


def probe() -> None:
    """In place of the command."""
    told = {
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "dumpable": ctypes.CDLL(None).prctl(_GET_DUMPABLE, 0, 0, 0, 0),
        "locked": memory._status("VmLck") != "0 kB",
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        setattr(memory, name, lambda: None)
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    command_line.app = probe  # type: ignore[assignment]
    command_line.main()
