"""An installation to measure: a patient's vault with a record taken in the way a sync does it, and a provider's grant.

Everything is as in production: SQLite in a file or PostgreSQL, with fsync at every commit, the key ring in a folder, an
ES384 key with which the provider signs in.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import httpx
import orjson
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from aggregator.api.service import Service
from aggregator.app import open_service
from aggregator.config import (
    BlobSettings,
    ClientSettings,
    Config,
    HttpSettings,
    KeySettings,
    LimitSettings,
    SessionSettings,
    SourceSettings,
)
from aggregator.identity.accounts import Owner
from aggregator.sync.registry import Registry, Source
from aggregator.sync.run import run
from connectors.contract import Batch, Cursor
from connectors.fhir_items import Account, item
from connectors.patient_compartment import DIRECTORY, PATIENT_PARAMETER
from fhir_profiles.text import Resource, dumps, loads
from tests import databases
from tests.vault import world as worlds
from tests.vault.world import ERIKA, consent

PAGE = 100
"""Resources in one commit: a page of the clinic connector's default size."""

PARTY = "praxis-b"
_BASE = "https://klinik.example/fhir/"
_TYPES = frozenset({"Patient", *PATIENT_PARAMETER, *DIRECTORY})
_NO_LIMITS = LimitSettings(
    requests_per_minute=10**9,
    record_requests_per_minute=10**9,
    megabytes_per_hour=10**6,
    record_megabytes_per_hour=10**6,
)


@dataclass(kw_only=True)
class Installation:
    """One patient, one connection to a clinic, one provider with consent."""

    folder: Path
    service: Service
    owner: Owner
    connection: str

    def take_in(self, resources: Sequence[Resource], commits: int | None = None) -> int:
        """One run, from parsed resources to what is committed, page by page; returns how many are stored.

        commits: how many pages there are, as many as pages of a source's size where it is not said.
        """
        worker = self.service.worker
        source = worker.registry.source("klinik")
        spec = replace(source.spec, connect=lambda *_: _Parsed(resources, worker.clock(), commits))
        ready = replace(worker, registry=_Only(replace(source, spec=spec)), client=_no_client)
        return asyncio.run(run(ready, self.connection)).stored

    def permit(self, **criteria: object) -> None:
        """The patient permits the provider everything, or what the criteria say."""
        self.service.signing.save_consent(self.owner, consent([self.service.registered[PARTY].party], **criteria))

    def sign_in(self) -> str:
        """The provider's access token, by a signed client assertion."""
        audience, now = f"{self.service.base_url}/auth/token", int(time.time())
        key = ECKey.import_key(orjson.loads((self.folder / "praxis.key.json").read_bytes()))
        claims = {"iss": PARTY, "sub": PARTY, "aud": audience, "exp": now + 200, "jti": f"bench-{time.time_ns()}"}
        form = {
            "grant_type": "client_credentials",
            "scope": "system/*.rs",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode({"alg": "ES384"}, claims, key, algorithms=["ES384"]),
        }
        return str(self.service.clients.token(form, audience)["access_token"])

    def close(self) -> None:
        self.service.close()


class _Parsed:
    """A connector whose pages are there already, parsed: it makes items of them as the clinic's does."""

    def __init__(self, resources: Sequence[Resource], now: datetime, pages: int | None) -> None:
        self._resources = resources
        self._pages = pages or -(-len(resources) // PAGE)
        self._now = now
        self._account = Account(base=_BASE, patient_id=resources[0]["id"], types=_TYPES)

    async def check(self) -> None:
        """It is there."""

    async def pull(self, _: Cursor | None) -> AsyncIterator[Batch]:
        ends = [len(self._resources) * number // self._pages for number in range(self._pages + 1)]
        for start, end in pairwise(ends):
            page = self._resources[start:end]
            yield Batch(tuple(item(self._account, one, self._now) for one in page), Cursor(str(start)))


class _Only(Registry):
    def __init__(self, source: Source) -> None:
        self._sources = {source.authority: source}


def _no_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(500)))


def settings(folder: Path) -> Config:
    """The configuration of the installation in this folder; a token outlives the measurement."""
    store = databases.settings(folder / "store" / "aggregator.db")
    if store.url:
        os.environ["AGGREGATOR_STORE__URL"] = store.url  # the HTTP server is another process
    return Config(
        store=store,
        blobs=BlobSettings(url=str(folder / "blobs")),
        keys=KeySettings(folder=folder / "keys"),
        limits=_NO_LIMITS,
        http=HttpSettings(base_url="http://127.0.0.1:8080"),
        session=SessionSettings(owner_minutes=120, signing_minutes=60, client_token_minutes=120),
        sources={"klinik": SourceSettings(connector="clinic_fhir", settings={"base_url": _BASE.rstrip("/")})},
        clients={PARTY: ClientSettings(name="Praxis Dr. B", jwks_file=folder / "praxis.jwks.json")},
    )


def install(folder: Path, patient: str) -> Installation:
    """A new installation. `patient`: the Patient's id at the clinic."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ECKey.generate_key("P-384")
    (folder / "praxis.key.json").write_bytes(orjson.dumps(key.as_dict(private=True)))
    (folder / "praxis.jwks.json").write_bytes(orjson.dumps(KeySet([key]).as_dict(private=False)))
    worlds.sign_up(folder)
    service = open_service(settings(folder))
    owner = service.accounts.sign_in(worlds.LOGIN, worlds.PASSWORD)
    connection = service.connections.connect(service.signing.signer(owner), "klinik", {"patient_id": patient})
    return Installation(folder=folder, service=service, owner=owner, connection=connection)


def of_one_person(resources: Sequence[Resource], number: int) -> list[Resource]:
    """The first `number` resources as one person's record: the first Patient is Erika, first, and the only one."""
    patients = [one["id"] for one in resources if one["resourceType"] == "Patient"]
    first = next(one for one in resources if one["resourceType"] == "Patient")
    name = [{"use": "official", "family": ERIKA.family, "given": [ERIKA.given]}]
    person = {**first, "name": name, "birthDate": ERIKA.birth_date}
    rest = [one for one in resources if one["resourceType"] != "Patient"][: number - 1]
    return [person, *(_whose(one, patients) for one in rest)]


def _whose(resource: Resource, patients: Sequence[str]) -> Resource:
    text = dumps(resource)
    for other in patients[1:]:
        if other.encode() in text:
            text = text.replace(f"Patient/{other}".encode(), f"Patient/{patients[0]}".encode())
    made: Resource = loads(text)
    return made
