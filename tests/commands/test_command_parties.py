"""`aggregator parties`: the list, and what the operator decides about who waits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from aggregator.app import open_service
from aggregator.config import load
from tests.commands.running import Run

LANR = "https://fhir.kbv.de/NamingSystem/KBV_NS_Base_ANR"
KEYS = {"keys": [ECKey.generate_key("P-384", {"kid": "k"}).as_dict(private=False)]}
DR_B = {
    "resourceType": "Practitioner",
    "id": "b",
    "identifier": [{"system": LANR, "value": "123456701"}],
    "name": [{"text": "Dr. med. Bettina Brandt"}],
}
CLAIM: dict[str, Any] = {
    "client_name": "Praxis Dr. Brandt",
    "grant_types": ["client_credentials"],
    "jwks": KEYS,
    "identifiers": [{"system": LANR, "value": "123456701"}],
    "contacts": ["praxis@brandt.example"],
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A configuration of this test's own: a directory with one entry, no clients."""
    (tmp_path / "directory.ndjson").write_text(json.dumps(DR_B))
    (tmp_path / "keys.json").write_text(json.dumps(KEYS))
    file = tmp_path / "config.toml"
    file.write_text('[store]\npath = "store/a.db"\n[parties]\ndirectory_files = ["directory.ndjson"]\n')
    return file


def claim(config: Path) -> str:
    service = open_service(load(config))
    try:
        return service.parties.register(CLAIM).id
    finally:
        service.close()


def test_a_claim_is_shown_with_what_the_directory_says_then_approved_and_ended(run: Run, own: Path) -> None:
    client = claim(own)
    (waiting,) = run("--config", own, "parties", "list", "--json").json["waiting"]
    assert (waiting["id"], waiting["state"], waiting["contacts"]) == (client, "pending", ["praxis@brandt.example"])
    assert f"waiting: {client}: Praxis Dr. Brandt" in run("--config", own, "parties", "list").out
    shown = run("--config", own, "parties", "show", client).out
    assert '  claims identifiers: [{"system":' in shown
    assert "  the directory has Practitioner/b: Dr. med. Bettina Brandt (provider)" in shown
    assert run("--config", own, "parties", "approve", client, "--note", "called back").out == f"{client}: approved\n"
    told = run("--config", own, "parties", "list", "--json").json
    assert [(one["id"], one["verified"], one["note"]) for one in told["parties"]] == [
        (client, "approved", "called back"),
        ("Practitioner/b", "directory", ""),
    ]
    assert told["waiting"] == []
    assert run("--config", own, "parties", "end", client, "--yes").out == f"{client}: ended\n"
    assert [one["id"] for one in run("--config", own, "parties", "list", "--json").json["parties"]] == [
        "Practitioner/b"
    ]
    assert run("--config", own, "parties", "show", client, "--json").json["state"] == "ended"


def test_somebody_of_the_directory_is_let_in_with_the_files_own_name(run: Run, own: Path) -> None:
    keys = ("--jwks", own.parent / "keys.json")
    made = run("--config", own, "parties", "add", "Practitioner/b", *keys, "--note", "at the practice", "--json").json
    assert made["state"] == "approved"
    first = run("--config", own, "parties", "list", "--json").json["parties"][0]
    assert (first["id"], first["name"], first["verified"], first["note"], first["signs_in"]) == (
        made["id"],
        "Dr. med. Bettina Brandt",
        "directory",
        "at the practice",
        True,
    )


def test_a_refused_claim_is_gone(run: Run, own: Path) -> None:
    client = claim(own)
    assert run("--config", own, "parties", "refuse", client).out == f"{client}: refused\n"
    assert run("--config", own, "parties", "list", "--json").json["waiting"] == []
    assert run("--config", own, "parties", "show", client).code == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("approve", "nobody", "--note", "x"), "parties: nobody is not pending"),
        (("approve", "nobody", "--note", " "), "--note: say in 1 to 500 printable characters"),
        (("approve", "nobody", "--note", "a\nb"), "--note: say in"),
        (("end", "nobody", "--yes"), "parties: nobody is not approved"),
        (("refuse", "nobody"), "parties: nobody is not pending"),
        (("show", "nobody"), "parties: nobody is no client that registered itself"),
        (("add", "Practitioner/c", "--note", "x"), "Practitioner/c is in no file of parties.directory_files"),
        (("add", "Practitioner/b", "--note", "x"), "jwks: public keys are needed"),
        (("add", "Practitioner/b", "--note", "x", "--jwks", "gone.json"), "--jwks: gone.json is no JWK set"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(run: Run, own: Path, arguments: tuple[str, ...], told: str) -> None:
    ended = run("--config", own, "parties", *arguments)
    assert (ended.code, ended.out) == (1, "")
    assert told in ended.err
