"""Installations that scenarios start from: each is made once, and copied for every run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import orjson
from joserfc.jwk import ECKey

from tests.faults import operator
from tests.faults.living import LOGIN, PASSWORD, Home, living
from tests.faults.scenario import BATCHES, LETTERS, connect, permit
from tests.vault.world import ERIKA


@dataclass(frozen=True)
class Template:
    """before: the template of which it is a copy at first."""

    make: Callable[[Home], None]
    before: str = ""


def make_person(home: Home) -> None:
    """A key for the practice, and Erika, whose recovery code is proven."""
    key = ECKey.generate_key("P-384", {"kid": "praxis"})
    (home.folder / "praxis.key").write_bytes(orjson.dumps(key.as_dict(private=True)))
    (home.folder / "praxis.jwks").write_bytes(orjson.dumps({"keys": [key.as_dict(private=False)]}))
    with living(home, 0) as life:
        signed_up = life.service.accounts.sign_up(LOGIN, PASSWORD, ERIKA)
        life.service.accounts.prove_recovery(LOGIN, signed_up.recovery_code)
        home.paper.write_bytes(orjson.dumps({LOGIN: signed_up.recovery_code}))


def make_record(home: Home) -> None:
    """What `make_person` made, with two batches in the log."""
    with living(home, 0) as life:
        connect(life)
        life.pull(BATCHES[:2])


def make_moved(home: Home) -> None:
    """What `make_record` made, with a letter and a grant, in a sealed file; and an empty installation beside it."""
    with living(home, 0) as life:
        life.pull([*BATCHES[:2], replace(LETTERS[0], cursor="3")])
        permit(life)
        operator.export(life)
    operator.take_away(home)
    shutil.rmtree(home.folder / "keys")
    with living(home, 0):
        home.paper.write_bytes(orjson.dumps({}))


TEMPLATES: Mapping[str, Template] = {
    "person": Template(make_person),
    "record": Template(make_record, before="person"),
    "moved": Template(make_moved, before="record"),
}
