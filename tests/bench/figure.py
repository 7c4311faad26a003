"""A measured figure and how it is measured: one JSON line each, the best or the middle of several runs."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Literal, TypeVar

import orjson

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the output. `reference`: the bare work measured in the same run; None where there is none."""

    name: str
    value: float
    unit: str
    better: Literal["higher", "lower"]
    target: float | None = None
    reference: float | None = None

    def line(self) -> str:
        """The figure as JSON, numbers with four significant digits."""
        made = asdict(self)
        for name in ("value", "target", "reference"):
            made[name] = None if made[name] is None else float(f"{made[name]:.4g}")
        return orjson.dumps(made).decode()


@cache
def cores() -> tuple[int, int]:
    """(for the process under test, for whoever loads it): two where there are two. Asked before anything is pinned."""
    known = sorted(os.sched_getaffinity(0))
    return known[0], known[-1]


def timed(work: Callable[[], T], clock: Callable[[], float] = time.perf_counter) -> tuple[float, T]:
    """(seconds, what came of it). clock: `time.process_time` for what others on the machine must not slow down."""
    start = clock()
    made = work()
    return clock() - start, made


def repeated(work: Callable[[], object], runs: int, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Seconds of each run, ascending. What earlier work left behind is collected first, and what stays is set aside, as
    the service does with what its start made: neither is on this work's account."""
    gc.collect()
    gc.freeze()
    try:
        return sorted(timed(work, clock)[0] for _ in range(runs))
    finally:
        gc.unfreeze()


def middle(times: Sequence[float]) -> float:
    """The median."""
    return statistics.median(times)


def late(times: Sequence[float]) -> float:
    """The 99th percentile of ascending times."""
    return times[min(len(times) - 1, len(times) * 99 // 100)]
