"""The process under test: started once with the shim, it forks for every run. One JSON object a line, in and out.

Templates are made in it before it forks, so that whoever is forked has imported, mapped and compiled what it takes.

python -m tests.faults.process
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import LRUCache
from sqlmodel import Session

from aggregator.config import StoreSettings
from aggregator.errors import AggregatorError
from aggregator.identity.grants import Grants
from aggregator.vault import disk, postgresql, sqlite
from aggregator.vault.store import Store
from tests import cheap_argon2
from tests.faults import operator
from tests.faults.living import Facts, Home, living
from tests.faults.scenario import SCENARIOS, look, play, sound
from tests.faults.shim import Fault, Shim
from tests.faults.templates import TEMPLATES

_PATIENCE = 120
"""Seconds after which a run that hangs is ended."""


@contextmanager
def _swallowed(store: Store, *names: str) -> Iterator[Session]:
    """A transaction whose failure nobody is told of."""
    with suppress(DBAPIError), _WRITE(store, *names) as session:
        yield session


def _forgetful() -> None:
    postgresql._SESSION = f"{postgresql._SESSION} -c synchronous_commit=off"
    postgresql._refuse_forgetful = lambda *_: None


_WRITE = Store.write
WEAKENINGS: dict[str, Callable[[], object]] = {
    "": lambda: None,
    "each statement commits": lambda: setattr(sqlite, "_begin", lambda _: None),
    "revocations are not finished": lambda: setattr(Grants, "finish_revocations", lambda _: None),
    "the server may forget": _forgetful,
    "a failed commit is not told": lambda: setattr(Store, "write", _swallowed),
}
"""What a build that is weakened in one place does instead; a fork that is told so has it."""


def main() -> None:
    """Answers {"status", "steps", "writes", "told": [...]} to each {"act", "home", ...}."""
    shim, answers = Shim(), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # commands speak to a user on stdout; ours is the rig's
    cheap_argon2.install()
    _compile_once()
    for line in sys.stdin.buffer:
        asked = orjson.loads(line)
        answers.write(orjson.dumps(_make(asked) if asked["act"] == "make" else _forked(asked, shim)) + b"\n")
        answers.flush()


def _compile_once() -> None:
    """What SQLAlchemy compiles for one engine stands for each of its kind: whoever is forked opens new ones."""
    compiled = LRUCache[Any, Any](1000)
    Engine._compiled_cache = property(lambda _: compiled, lambda *_: None)
    DefaultDialect.__eq__ = lambda one, other: type(one) is type(other)
    DefaultDialect.__hash__ = lambda one: hash(type(one))


def _make(asked: Facts) -> Facts:
    """A template, in this very process."""
    TEMPLATES[asked["template"]].make(_home(asked))
    gc.collect()  # its threads end, and what is forked has none
    gc.freeze()
    gc.disable()  # nor does it live long enough to have anything collected
    return {"status": 0}


def _forked(asked: Facts, shim: Shim) -> Facts:
    told = Path(asked["home"] + ".told")
    told.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _child(asked, told, shim)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    steps, writes = (Shim(Path(asked["control"])) if asked["control"] else shim).counts()
    lines = told.read_bytes().splitlines() if told.exists() else []
    return {"status": status, "steps": steps, "writes": writes, "told": [orjson.loads(one) for one in lines]}


def _child(asked: Facts, told: Path, shim: Shim) -> None:
    """Never returns."""
    status = 1
    signal.alarm(_PATIENCE)
    try:
        WEAKENINGS[asked["weakening"]]()
        with told.open("ab", buffering=0) as out:
            ACTS[asked["act"]](asked, lambda fact: _say(out, fact), shim)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the parent reads it
        with told.open("ab") as out:
            _say(out, {"error": traceback.format_exc()})
    finally:
        os._exit(status)


def _say(out: Any, fact: Facts) -> None:
    out.write(orjson.dumps(fact) + b"\n")
    out.flush()


def _home(asked: Facts) -> Home:
    return Home(Path(asked["home"]), StoreSettings(**asked["store"]))


def _run(asked: Facts, say: Any, shim: Shim) -> None:
    """The scenario from its beginning, with a fault. Where the disk is full, room is made and it goes on."""
    home, scenario = _home(asked), SCENARIOS[asked["scenario"]]
    done, mended = 0, False
    if home.store.url and not asked["control"]:  # what it writes, another process writes: a commit is its durable step
        event.listen(Engine, "commit", lambda _: shim.step())
    faulty = Shim(Path(asked["control"])) if asked["control"] else shim

    def acknowledge(fact: Facts) -> None:
        nonlocal done
        shim.step()  # done, and nobody told of it
        done = fact["step"] + 1
        say(fact)

    faulty.arm(Path(asked["under"]), Fault(asked["fault"]), asked["at"])
    try:
        with living(home, 1) as life:
            try:
                play(life, scenario, 0, acknowledge)
            except AssertionError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
                say(_failed(error))
                faulty.disarm()
                mended = _reachable(life.service.store)
                if scenario.by_operator:
                    life.stop()
                    operator.mend(home)
                    life.start()
                life.service.grants.finish_revocations()  # as the serving process's sweep does
                say({"facts": look(life, scenario), "wrong": sound(life, [])})
                life.later()
                play(life, scenario, done, acknowledge)
    except AssertionError:
        raise
    except Exception as error:  # as above, at the start or the end
        if mended:
            raise
        say(_failed(error))
    faulty.disarm()


def _failed(error: Exception) -> Facts:
    """told: somebody hears of it in a sentence, and not of a bug."""
    return {"failed": repr(error), "told": isinstance(error, AggregatorError) or disk.failure(error) is not None}


def _reachable(store: Store) -> bool:
    """Wait for a server that is being started again."""
    for _ in range(600):
        with suppress(DBAPIError), store.read() as session:
            session.connection().exec_driver_sql("SELECT 1")
            return True
        time.sleep(0.05)
    return False


def _after(asked: Facts, say: Any, _: Shim) -> None:
    """Start again, look, do what is left, and look once more."""
    home, scenario = _home(asked), SCENARIOS[asked["scenario"]]
    operator.mend(home)
    with living(home, asked["generation"]) as life:
        say({"facts": look(life, scenario), "wrong": sound(life, asked["heads"])})
        if asked["first"] < len(scenario.steps):
            play(life, scenario, asked["first"], lambda _: None)
            say({"facts": look(life, scenario), "wrong": sound(life, asked["heads"])})


ACTS: dict[str, Any] = {"run": _run, "after": _after}

if __name__ == "__main__":
    main()
