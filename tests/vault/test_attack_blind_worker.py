"""The worker process, with its own keys, the whole database and a debugger, opens nothing that it wrote."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aggregator.audit.receipts import Opening, ReceiptWriter
from aggregator.consent import mandate
from aggregator.consent.grant import signed
from aggregator.identity import unlockers
from aggregator.vault.encoding import b64
from aggregator.vault.keys import Writer
from aggregator.vault.seal import PrivateKey, expand, header, read_header, wrap
from tests import databases
from tests.vault.blind_worker import Box, Cracker, boxes, derived, held
from tests.vault.source import found, skipped, sync
from tests.vault.test_attack_stolen_database import ACCOUNT, CURSOR, DEPRESSION, GLUCOSE, PATIENT
from tests.vault.world import DR_B, PASSWORD, World
from tests.weaken import weakens

pytestmark = pytest.mark.attack(29)

BODY = mandate.body
PROJECT = Path(__file__).parents[2]
ITS_OWN = {"ledger": 1, "mandate": 1, "settings": 1, "state": 1, "quarantine note": 1}
"""What FORMAT.md lets a worker open."""
ALL_KINDS = {
    *ITS_OWN,
    *("envelope", "snapshot", "image", "sections", "grant", "grants", "unlocker", "session"),
    *("quarantine payload", "receipts", "receipt"),
}


@pytest.fixture
def yesterday(world: World) -> World:
    write(world)
    return world


def write(world: World) -> None:
    """Everything that a vault has at rest: written by the worker yesterday, by the owner, by readers today."""
    world.append("results", world.put("Observation/old"))
    world.open().close()
    world.permit(DR_B)
    items = [found(PATIENT), found(DEPRESSION), found(GLUCOSE), skipped(b"raw", "detail", "locator")]
    asyncio.run(sync(world, items, ACCOUNT, CURSOR))
    world.clock.advance(days=1)
    world.open(world.grantee()).close()
    world.accounts.sign_in("erika.beispiel", PASSWORD)


@pytest.fixture
def opening(yesterday: World) -> Opening:
    return receipts(yesterday)


def receipts(world: World) -> Opening:
    """An opened view's receipts."""
    made = Opening(world.vault, world.owner.root.audit.public())
    writer = ReceiptWriter(world.store, world.ring)
    writer.write_now([made.first({"kind": "opened"}), made.next({"kind": "answered"}, None)])
    writer.close()
    return made


def second_process(world: World, folder: Path) -> dict[str, Any]:
    """A worker on another machine: it is given its key and a copy of the database, and nothing else."""
    world.store.checkpoint()
    folder.mkdir()
    for name in ("worker.key", "feed.key"):
        shutil.copy(world.folder / "keys" / name, folder)
    place = databases.told(world.store)
    if not databases.on_postgresql():
        place = str(shutil.copy(world.store.place, folder))
    command = [sys.executable, "-m", "tests.vault.blind_worker", str(folder), place]
    done = subprocess.run(command, cwd=PROJECT, env={"PATH": ""}, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _with_a_seed(signer: mandate.Signer, authority: str, account: str, writer: Writer) -> dict[str, Any]:
    """For `mandate.body`: one section's seed is the worker's."""
    seed = signer.root.section(signer.sections["mental-health"]).seed
    return BODY(signer, authority, account, writer) | {"seed": b64(seed)}


@weakens("aggregator.consent.mandate", "body", _with_a_seed)
def test_the_worker_opens_what_is_its_own_and_nothing_else(world: World, tmp_path: Path) -> None:
    write(world)
    receipts(world)
    told = second_process(world, tmp_path / "worker")
    assert told["boxes"].keys() == ALL_KINDS
    assert told["opened"] == ITS_OWN
    assert told["keys"] > 1000


def test_the_right_keys_open_every_box_that_was_tried(yesterday: World, opening: Opening) -> None:
    """The same attempts, with the keys of owner, key service and open session: so the test above can fail."""
    found = boxes(yesterday.store)
    cracker = Cracker([*_owners_keys(yesterday), *_key_services_keys(yesterday), opening._key])
    shut = Counter(box.kind for box in found if cracker.opens(box) is None)
    # The worker's own seals, and a second lock each that a password, a code or a session's token opens.
    assert shut == Counter({"mandate": 1, "settings": 1, "state": 1, "quarantine note": 1, "unlocker": 2, "session": 1})


@weakens("aggregator.identity.unlockers", "wrap", lambda _key, head, plaintext: wrap(bytes(32), head, plaintext))
def test_database_and_key_service_open_what_a_grant_covers_and_no_more(world: World) -> None:
    """With every key that the two hold, and all that follows from what these open. The consent names no section that
    is sensitive, so `mental-health` stays shut; an unlocker asks for its password."""
    write(world)
    world.accounts.replace_password(world.vault, world.owner.root, unlockers.derive(PASSWORD))
    receipts(world)
    found, keys = boxes(world.store), [bytes(32), *_key_services_keys(world), _worker_seed(world)]
    before, opened = 0, list[Box]()
    while before < len(keys):  # until nothing new opens
        before, cracker = len(keys), Cracker(keys)
        told = {box: plaintext for box in found if (plaintext := cracker.opens(box)) is not None}
        opened = list(told)
        inside = {key for box, plaintext in told.items() if box.kind in ("grant", "mandate") for key in held(plaintext)}
        keys = sorted({*keys, *derived(inside, [])})
    granted = {seed.id for seed in world.opened().seeds.values()}
    written = [box for box in found if box.kind in ("envelope", "snapshot")]
    assert [box in opened for box in written] == [_section(box) in granted for box in written]
    assert {box.kind for box in opened} == {"grant", "image", "envelope", "snapshot", *ITS_OWN}


def _section(box: Box) -> str:
    section: str = json.loads(read_header(box.data))["section"]
    return section


def _worker_seed(world: World) -> bytes:
    return bytes.fromhex((world.folder / "keys" / "worker.key").read_text())


def test_the_password_opens_the_unlocker(yesterday: World) -> None:
    key = unlockers._argon2(PASSWORD, _salt(yesterday), unlockers.Argon2Parameters())
    cracker = Cracker([key, *_key_services_keys(yesterday)])
    opened = [cracker.opens(box) for box in boxes(yesterday.store) if box.kind == "unlocker"]
    assert yesterday.owner.root.secret in opened


def test_a_key_that_were_in_the_mandate_would_be_found(yesterday: World) -> None:
    """Were one section's seed the worker's, its envelopes would open: seen by the very attempts above."""
    seed = yesterday.owner.root.section(yesterday.owner.sections["mental-health"]).seed
    opened = Counter(box.kind for box in boxes(yesterday.store) if Cracker([seed]).opens(box) is not None)
    assert opened == {"envelope": 1}


def test_past_commitment_and_encapsulation_a_data_key_is_tried_as_it_is() -> None:
    head = header("image", "v")
    assert Cracker([expand(bytes(32), "enc")]).opens(Box("image", wrap(bytes(32), head, b"text"))) is not None
    box = PrivateKey(bytes(32)).public().seal(head, b"text")
    assert Cracker([bytes(32)]).opens(Box("image", box)) == b"text"


def _owners_keys(world: World) -> list[bytes]:
    root = world.owner.root
    seeds = [root.section(section) for section in world.owner.sections.values()]
    keys = [seed.seed for seed in seeds] + [seed.snapshot_key() for seed in seeds]
    source = root.source("fachklinik-am-see", ACCOUNT["patient_id"])
    keys += [root.owner_key(), root.image_key(), expand(root.secret, "audit"), root.ledger_keys(source)[:32]]
    return [*keys, world.opened().image_key]


def _key_services_keys(world: World) -> list[bytes]:
    return [world.ring._rows.shred(world.vault), world.ring._grant_keys._key(signed(world.grant()))]


def _salt(world: World) -> bytes:
    return bytes.fromhex(json.loads(world.unlocker().parameters)["salt"])
