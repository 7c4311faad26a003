"""Runs scenarios with a fault at the n-th step or write, starts again, and judges what is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests import databases
from tests.faults.living import Facts
from tests.faults.scenario import SCENARIOS, Scenario
from tests.faults.server import FaultyServer
from tests.faults.shim import Fault, build
from tests.faults.templates import TEMPLATES

ROOT = Path(__file__).parents[2]


@dataclass
class Rig:
    """The process that forks, and the folder in which homes are."""

    folder: Path
    process: subprocess.Popen[bytes]
    server: FaultyServer | None = None
    """Whose faults they are, where not the process's own."""
    made: set[str] = field(default_factory=set)
    _databases: ExitStack = field(default_factory=ExitStack)
    counts: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    weakening = ""
    """What is weakened in the process under test; see tests.faults.process."""

    def ask(self, **asked: Any) -> Facts:
        assert self.process.stdin
        assert self.process.stdout
        store = databases.settings(database(Path(asked["home"]))).model_dump(mode="json")
        under = {"control": str(self.server.control), "under": str(self.server.data)} if self.server else {}
        more = {"weakening": self.weakening, "store": store, "control": "", "under": asked["home"]} | under
        self.process.stdin.write(orjson.dumps(more | asked) + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the process under test has ended"
        answer: Facts = orjson.loads(line)
        return answer

    def home(self, template: str) -> Path:
        """A fresh copy of a template."""
        made = self._template(template)
        fresh = self.folder / "home"
        shutil.rmtree(fresh, ignore_errors=True)
        self._databases.close()
        self._databases.enter_context(databases.own_databases())
        self._copy(made, fresh)
        return fresh

    def prepare(self) -> None:
        """The templates, before a test that gives back the databases that it took."""
        for name in TEMPLATES:
            self._template(name)

    def _template(self, name: str) -> Path:
        folder = self.folder / name
        if name not in self.made:
            if before := TEMPLATES[name].before:
                self._copy(self._template(before), folder)
            else:
                folder.mkdir()
            self.ask(act="make", template=name, home=str(folder))
            self.made.add(name)
        return folder

    def _copy(self, source: Path, target: Path) -> None:
        shutil.copytree(source, target)
        shutil.copy(f"{source}.codes", f"{target}.codes")
        databases.copy(database(source), database(target))

    def count(self, name: str) -> tuple[int, int]:
        """(durable steps, writes) of a scenario in which nothing goes wrong."""
        if (name, self.weakening) not in self.counts:
            self.counts[name, self.weakening] = self._count(name)
        return self.counts[name, self.weakening]

    def _count(self, name: str) -> tuple[int, int]:
        home = self.home(SCENARIOS[name].template)
        answer = self.ask(act="run", scenario=name, home=str(home), fault=int(Fault.NONE), at=0)
        assert answer["status"] == 0, answer["told"]
        assert [one["step"] for one in answer["told"]] == list(range(len(SCENARIOS[name].steps)))
        self._judge_after(name, home, answer["told"])
        return answer["steps"], answer["writes"]

    def fail_each(self, name: str, fault: Fault, numbers: Iterable[int]) -> None:
        """A run for each number. Raises AssertionError that tells of every one that failed."""
        wrong = list[str]()
        for at in numbers:
            try:
                self.fail(name, fault, at)
            except AssertionError as error:
                wrong.append(f"{name}, {fault.name} at {at}: {error}")
        assert not wrong, "\n".join(wrong)

    def fail(self, name: str, fault: Fault, at: int) -> None:
        """One run with one fault. Raises AssertionError for anything lost, half made, or not mended by itself."""
        home = self.home(SCENARIOS[name].template)
        answer = self.ask(act="run", scenario=name, home=str(home), fault=int(fault), at=at)
        killed = fault in (Fault.KILL_AT_STEP, Fault.KILL_AT_WRITE) and not self.server
        wanted = -9 if killed else 0
        if self.server:
            self.server.mend()
        assert answer["status"] in (wanted, 0), answer["told"]
        acknowledged = list[Facts]()
        for one in answer["told"]:
            if "facts" in one:  # in the same process, when there was room again
                self._judge(SCENARIOS[name], len(acknowledged), one)
            elif "step" in one:
                acknowledged.append(one)
            else:
                assert one["told"], one
        self._judge_after(name, home, acknowledged)

    def _judge_after(self, name: str, home: Path, acknowledged: list[Facts]) -> None:
        scenario, done = SCENARIOS[name], len(acknowledged)
        heads = [one["head"] for one in acknowledged if one["head"]]
        answer = self.ask(act="after", scenario=name, home=str(home), generation=3, first=done, heads=heads)
        assert answer["status"] == 0, answer["told"]
        for seen, at in zip(answer["told"], sorted({done, len(scenario.steps)}), strict=True):
            self._judge(scenario, at, seen)

    def _judge(self, scenario: Scenario, done: int, seen: Facts) -> None:
        """What is seen when `done` steps were acknowledged and the next one may have begun."""
        assert seen["wrong"] == []
        facts = dict(scenario.facts)
        for step in scenario.steps[:done]:
            facts |= {fact: states[-1] for fact, states in step.changes.items()}
        under_way = scenario.steps[done].changes if done < len(scenario.steps) else {}
        for fact, value in seen["facts"].items():
            assert value in [facts[fact], *under_way.get(fact, ())], (fact, value, done)


def database(home: Path) -> Path:
    """SQLite's file, or what stands for it on PostgreSQL."""
    return home / "store" / "vaults.db"


@contextmanager
def rig(folder: Path, server: FaultyServer | None = None) -> Iterator[Rig]:
    """Builds the shim and starts the process under test. server: whose faults they are, instead of the process's."""
    library = build(folder)
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.process"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        made = Rig(folder, process, server)
        made.prepare()
        yield made
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        process.wait(timeout=30)
