"""`make mutate`: is every small wrong in the vault's core noticed by a test?

    python -m tests.mutation [--sample N] [--only fold] [--list]

The tests are collected once; each mutant is applied in a child process, which runs its module's tests until the first
that fails. What survives must stand in explained.toml with its reason, else the run fails; an explanation that is not
needed any more fails it too. One process at a time.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import select
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import is_hypothesis_test, settings

from tests.mutation import applied, mutants
from tests.mutation.mutants import Mutant

ROOT = Path(__file__).parents[2]
EXPLAINED = Path(__file__).with_name("explained.toml")
SECONDS = 60.0
"""After which a child that still runs counts as killed: it does not end."""

SLOW = ("unlocker", "the_files_are_those")
"""Tests that have nothing to do with these modules, and take their time."""

DECISIONS = (
    "tests/consent/test_decide.py",
    "tests/consent/test_decide_not_understood.py",
    "tests/consent/test_decide_reach.py",
    "tests/consent/test_decide_context.py",
    "tests/consent/test_decide_laws.py",
)
TESTS: dict[str, tuple[str, ...]] = {
    "aggregator.vault.keys": ("tests/vault/test_key_rules.py",),
    "aggregator.vault.envelope": ("tests/vault/test_envelope_rules.py",),
    "aggregator.vault.vouching": ("tests/vault/test_vouching.py",),
    "aggregator.vault.ledger": ("tests/vault/test_ledger_rows.py",),
    "aggregator.vault.fold": ("tests/vault/test_fold_rules.py",),
    "aggregator.audit.chain": ("tests/audit/test_chain_rows.py",),
    "aggregator.consent.facts": ("tests/consent/test_decide_facts.py", *DECISIONS),
    "aggregator.consent.provision": ("tests/consent/test_provision.py", *DECISIONS),
    "aggregator.consent.context": DECISIONS,
    "aggregator.consent.decide": DECISIONS,
    "aggregator.consent.reach": DECISIONS,
    "aggregator.identity.app_consents": ("tests/identity/test_app_consents.py",),
    "aggregator.consent.grant": ("tests/consent/test_grant.py", "tests/consent/test_grant_opening.py"),
}


@dataclass
class Run:
    """The plugin: in the place of the tests' run, one child a mutant."""

    only: str
    sample: int
    explained: dict[str, str]
    survived: list[str] = field(default_factory=list)
    killed: dict[str, str] = field(default_factory=dict)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for name, files in TESTS.items():
            if self.only and not name.endswith(self.only):
                continue
            items = [one for one in session.items if _file(one) in files and not any(word in one.name for word in SLOW)]
            items.sort(key=lambda one: (is_hypothesis_test(getattr(one, "obj", None)), files.index(_file(one))))
            assert _child(items, None) == "", "the tests fail without any mutant"
            self._module(name, items)
        return True

    def _module(self, name: str, items: list[pytest.Item]) -> None:
        module = importlib.import_module(name)
        found = mutants.of(Path(str(module.__file__)).read_text())
        if self.sample:
            found = random.Random(self.sample).sample(found, min(self.sample, len(found)))
        began = time.monotonic()
        left = 0
        for mutant in found:
            key = f"{name.rpartition('.')[2]}.{mutant.name}"
            by = _child(items, (module, mutant))
            if by:
                self.killed[key] = by
            else:
                left += 1
                self.survived.append(key)
                if key not in self.explained:
                    _say(f"SURVIVES: {key}")
        took = time.monotonic() - began
        _say(f"{name}: {len(found)} mutants, {left} survive, {took:.0f} s")


def _file(item: pytest.Item) -> str:
    return item.path.relative_to(ROOT).as_posix()


def _child(items: list[pytest.Item], what: tuple[object, Mutant] | None) -> str:
    """The name of the test that fails, "" where all pass."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.write(writing, _tests(items, what).encode()[:4000])
        os._exit(0)
    os.close(writing)
    return _told(child, reading)


def _told(child: int, reading: int) -> str:
    ready, _, _ = select.select([reading], [], [], SECONDS)
    if not ready:
        os.kill(child, 9)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if not ready:
        return "(it does not end)"
    return told or ("(it crashes)" if status else "")


def _tests(items: list[pytest.Item], what: tuple[object, Mutant] | None) -> str:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    try:
        if what is not None:
            applied.apply(what[0], what[1].source)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - whatever it raises, nobody could run it
        return "(it cannot be imported)"
    failed: list[str] = []

    class Listening:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failed.append(report.nodeid)

    if items:
        items[0].config.pluginmanager.register(Listening())
    for index, item in enumerate(items):
        following = items[index + 1] if index + 1 < len(items) else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if failed:
            return failed[0]
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("--sample", type=int, default=0, help="so many of each module, drawn by this number")
    parser.add_argument("--only", default="", help="one module, by the end of its name")
    parser.add_argument("--list", action="store_true", help="each mutant and the test that noticed it")
    asked = parser.parse_args()
    explained: dict[str, str] = tomllib.loads(EXPLAINED.read_text())
    run = Run(asked.only, asked.sample, explained)
    os.environ.setdefault("AGGREGATOR_POLICIES", "30")
    settings.register_profile("mutants", max_examples=30, derandomize=True, database=None, deadline=None)
    settings.load_profile("mutants")
    files = sorted({file for name, some in TESTS.items() if name.endswith(asked.only) for file in some})
    quiet = [
        "-q",
        "--capture=no",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:faulthandler",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    code = pytest.main([*quiet, "-o", "timeout=0", *files], plugins=[run])
    if code not in (0, 5) or not run.killed:
        _say(f"the tests could not be collected: {code}")
        return 1
    if asked.list:
        for key, by in run.killed.items():
            _say(f"{key}\n    {by}")
    unexplained = [key for key in run.survived if key not in explained]
    stale = [key for key in explained if key in run.killed] if asked.sample else _stale(run, explained, asked.only)
    for key in stale:
        _say(f"explained, and not needed: {key}")
    total = len(run.killed) + len(run.survived)
    _say(f"{total} mutants: {len(run.killed)} noticed, {len(run.survived)} survive, {len(unexplained)} unexplained")
    return 1 if unexplained or stale else 0


def _say(told: str) -> None:
    sys.stdout.write(told + "\n")
    sys.stdout.flush()


def _stale(run: Run, explained: dict[str, str], only: str) -> list[str]:
    return [key for key in explained if key.partition(".")[0].endswith(only or "") and key not in run.survived]


if __name__ == "__main__":
    sys.exit(main())
