"""`make bench`: one JSON line a figure, {"name", "value", "unit", "better", "target", "reference"}.

    python -m tests.bench [--quick] [--store sqlite|postgresql]

The process under test runs on one core, who loads it on another, in a process of its own. Records are made of the
outside Synthea Bundles (../shared/data or AGGREGATOR_TEST_DATA). Rates are the best of several runs, latencies the
median and the 99th percentile. `--quick` leaves out the large records and repeats less: for a look, not for a note.
The records of 9,000 and 100,000 repeat the Bundles under ids of their own (`records.py`), so they compress as such.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import databases
from tests.bench import many_vaults, vault_figures
from tests.bench.bulk_figures import exporting
from tests.bench.figure import Figure, cores
from tests.bench.http_figures import over_http
from tests.bench.installation import of_one_person
from tests.bench.records import DataMissing, records
from tests.bench.summaries import summaries


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured: record sizes, numbers of vaults, runs of what is fast, rounds and seconds under load."""

    sizes: tuple[int, ...]
    vaults: tuple[int, ...]
    runs: int
    rounds: int
    seconds: float


FULL = Scale(sizes=(640, 9000, 100_000), vaults=(100, 1000, 10_000, 100_000), runs=200, rounds=3, seconds=3.0)
QUICK = Scale(sizes=(640,), vaults=(100, 1000), runs=20, rounds=1, seconds=0.5)
SMALL = 25  # resources of one of many vaults
SYNCS = 365


def figures(folder: Path, scale: Scale) -> Iterator[Figure]:
    """All of them, as they are measured."""
    everything = records(max(scale.sizes) * 6 // 5)
    least = of_one_person(everything, min(scale.sizes))
    for number in scale.sizes:
        resources = of_one_person(everything, number)
        made, installation = vault_figures.take_in(folder / str(number), resources, 3 if number < 50_000 else 1)
        yield made
        installation.permit()
        runs = max(10, scale.runs * 640 // number) if number > 640 else scale.runs
        yield from vault_figures.openings(installation, number, runs)
        yield from vault_figures.at_rest(installation, resources)
        yield from vault_figures.memory(installation, number)
        if number == min(scale.sizes):
            yield from vault_figures.steps(installation, resources, max(3, scale.runs // 20))
            yield from vault_figures.receipts(installation, scale.seconds)
            yield from summaries(installation, number, scale.runs)
            yield from over_http(installation, scale.seconds, scale.rounds)
        yield from exporting(installation, number)
        yield from vault_figures.filtered(installation, number, runs)
        if number == min(scale.sizes):
            yield from vault_figures.appending(installation, resources, scale.runs)
        installation.close()
    yield from vault_figures.unopened(folder / "unopened", least, SYNCS, scale.runs)
    yield from many_vaults.many(folder / "many", least[:SMALL], scale.vaults, scale.runs)


def main(arguments: list[str]) -> int:
    """0 done, 1 without the outside data, 2 wrong use."""
    try:
        asked = _parsed(arguments)
    except SystemExit as wrong:
        return int(wrong.code or 0)
    databases.start(asked.store, on_disk=True)  # before the process is bound to its core: the server is not
    core, _ = cores()
    os.sched_setaffinity(0, {core})
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            for figure in figures(Path(folder), QUICK if asked.quick else FULL):
                sys.stdout.write(figure.line() + "\n")
                sys.stdout.flush()
    except DataMissing as missing:
        sys.stderr.write(f"bench: {missing}\n")
        return 1
    finally:
        if asked.store == "postgresql":
            databases.stop()
    return 0


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.bench")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
