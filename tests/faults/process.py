"""The process under test: started once with the shim, it forks for every run. One JSON object a line, in and out.

python -m tests.faults.process FOLDER
"""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from aggregator.config import StoreSettings
from aggregator.identity.signing import Signing
from aggregator.vault import postgresql, sqlite
from aggregator.vault.store import Store
from tests.faults import operator
from tests.faults import scenario as scenarios
from tests.faults.living import Facts, Home, living
from tests.faults.scenario import SCENARIOS, look, play, sound
from tests.faults.shim import Fault, Shim


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
    "revocations are not finished": lambda: setattr(Signing, "finish_revocations", lambda _: None),
    "the server may forget": _forgetful,
    "a failed commit is not told": lambda: setattr(Store, "write", _swallowed),
}
"""What a build that is weakened in one place does instead; a fork that is told so has it."""

MAKERS = {"person": scenarios.make_person, "record": scenarios.make_record}


def main() -> None:
    """Answers {"status", "steps", "writes", "told": [...]} to each {"act", "home", ...}."""
    shim = Shim()
    gc.freeze()
    for line in sys.stdin.buffer:
        asked = orjson.loads(line)
        told = Path(asked["home"] + ".told")
        told.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            _child(asked, told, shim)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        steps, writes = (Shim(Path(asked["control"])) if asked["control"] else shim).counts()
        lines = told.read_bytes().splitlines() if told.exists() else []
        answer = {"status": status, "steps": steps, "writes": writes, "told": [orjson.loads(one) for one in lines]}
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


def _child(asked: Facts, told: Path, shim: Shim) -> None:
    """Never returns."""
    status = 1
    os.dup2(2, 1)  # commands speak to a user on stdout; ours is the rig's
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


def _make(asked: Facts, _say: Any, _: Shim) -> None:
    MAKERS[asked["maker"]](_home(asked))


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
            except Exception as error:  # noqa: BLE001 - how a full disk is told is not this test's matter
                say({"failed": type(error).__name__})
                faulty.disarm()
                mended = _reachable(life.service.store)
                if scenario.by_operator:
                    life.stop()
                    operator.mend(home)
                    life.start()
                life.service.signing.finish_revocations()  # as the serving process's sweep does
                say({"facts": look(life, scenario), "wrong": sound(life, [])})
                life.later()
                play(life, scenario, done, acknowledge)
    except AssertionError:
        raise
    except Exception as error:  # as above, at the start or the end
        if mended:
            raise
        say({"failed": type(error).__name__})
    faulty.disarm()


def _reachable(store: Store) -> bool:
    """Wait for a server that is being started again."""
    for _ in range(600):
        with suppress(DBAPIError), store.read() as session:
            session.connection().exec_driver_sql("SELECT 1")
            return True
        time.sleep(0.05)
    return False


def _after(asked: Facts, say: Any, _: Shim) -> None:
    """Start again, look, and do what is left."""
    home, scenario = _home(asked), SCENARIOS[asked["scenario"]]
    operator.mend(home)
    with living(home, asked["generation"]) as life:
        say({"facts": look(life, scenario), "wrong": sound(life, asked["heads"])})
        play(life, scenario, asked["first"], lambda _: None)
        say({"facts": look(life, scenario), "wrong": sound(life, asked["heads"])})


ACTS: dict[str, Any] = {"make": _make, "run": _run, "after": _after}

if __name__ == "__main__":
    main()
