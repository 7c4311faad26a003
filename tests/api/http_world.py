"""A whole installation over real sockets: a clinic server, patients, three clients, consents signed by patients."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
from joserfc import jwt
from joserfc.jwk import ECKey

from aggregator.api.service import Service
from aggregator.app import open_service
from aggregator.application import create_app
from aggregator.config import (
    BlobSettings,
    ClientSettings,
    Config,
    HttpSettings,
    IdentifierSettings,
    KeySettings,
    LimitSettings,
    SourceSettings,
)
from aggregator.demo.clinic import Clinic
from aggregator.demo.server import Running, listen, serve
from aggregator.sync.run import Outcome
from aggregator.sync.schedule import sync
from fhir_profiles.text import Resource, loads
from tests import databases
from tests.vault.world import FrozenClock

PARTIES = "https://example.org/parties"
SECTION = "https://aggregator.example/fhir/CodeSystem/section"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
GENEROUS = LimitSettings(requests_per_minute=10**6, record_requests_per_minute=10**6)  # the clock stands still
PASSWORD = "Korrekt Pferd Batterie"
CLIENTS = ("praxis", "labor", "fremd")
REDIRECT = "https://app.example/callback"
RECORD = Path(__file__).parent / "record.json"


@dataclass
class HttpWorld:
    """One installation and the ways in."""

    service: Service
    clinic: Clinic
    clock: FrozenClock
    http: httpx.Client
    keys: Mapping[str, ECKey]
    patients: dict[str, str] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)

    def sign_up(self, login: str, family: str, birth_date: str) -> str:
        """A patient with a vault and a proven recovery code; returns the whole Patient id."""
        told = {"login": login, "password": PASSWORD, "family": family, "given": "Erika", "birth_date": birth_date}
        made = self.http.post("/auth/sign-up", json=told).json()
        proof = {"login": login, "recovery_code": made["recovery_code"]}
        assert self.http.post("/auth/recovery-proof", json=proof).status_code == 204
        self.patients[login], self.owners[login] = made["patient"], made["token"]
        return str(made["patient"])

    def connect(self, login: str, patient_id: str) -> str:
        """Connect the patient's account at the clinic."""
        account = {"patient_id": patient_id, "bearer_token": _clinic_token(patient_id)}
        told = {"source": "klinik", "account": account}
        answer = self.http.post("/app/connections", json=told, headers=self.owner(login))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def sync(self) -> list[Outcome]:
        """Pull everything from the beginning."""
        return asyncio.run(sync(self.service.worker, again=True))

    def owner(self, login: str = "erika") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.owners[login]}"}

    def assertion(self, client: str, **changed: Any) -> str:
        """A right client assertion, but for what is changed."""
        now = int(self.clock().timestamp())
        claims = {"iss": client, "sub": client, "aud": f"{self.service.base_url}/auth/token", "exp": now + 200}
        claims |= {"jti": str(uuid.uuid4())} | changed
        return jwt.encode({"alg": "ES384", "kid": client}, claims, self.keys[client], algorithms=["ES384"])

    def token(self, client: str, scope: str = "system/*.rs", **changed: Any) -> dict[str, str]:
        """An access token as a request header."""
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION, "scope": scope}
        answer = self.http.post("/auth/token", data=form | {"client_assertion": self.assertion(client, **changed)})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def consent(self, client: str, login: str = "erika", **provision: Any) -> str:
        """The patient signs a Consent for a client; returns its whole id."""
        answer = self.http.post(
            "/fhir/Consent", json=consent(self.patients[login], client, **provision), headers=self.owner(login)
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def get(self, path: str, who: Mapping[str, str]) -> httpx.Response:
        return self.http.get(path, headers=dict(who))

    def everything(self, who: Mapping[str, str], login: str = "erika") -> list[Resource]:
        """All resources of Patient/$everything, page after page."""
        url, found = f"/fhir/Patient/{self.patients[login]}/$everything?_count=7", []
        while url:
            answer = self.get(url, who)
            assert answer.status_code == 200, answer.text
            bundle = loads(answer.content)
            found += [entry["resource"] for entry in bundle.get("entry", [])]
            url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
        return found


def consent(patient: str, client: str, **provision: Any) -> Resource:
    """A whole R4 Consent that permits a client to read; `provision` adds to or changes its provision."""
    permit = {
        "type": "permit",
        "period": {"start": "2026-01-01", "end": "2027-12-31"},
        "actor": [
            {
                "role": {"coding": [_coding("v3-ParticipationType", "PRCP")]},
                "reference": {"identifier": {"system": PARTIES, "value": client}},
            }
        ],
        "purpose": [_coding("v3-ActReason", "TREAT")],
    }
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [_coding("consentscope", "patient-privacy")]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": f"Patient/{patient}"},
        "dateTime": "2026-11-21",
        "policyRule": {"coding": [_coding("v3-ActCode", "OPTIN")]},
        "provision": permit | provision,
    }


def classes(*sections: str) -> list[dict[str, str]]:
    """provision.class that names sections."""
    return [{"system": SECTION, "code": section} for section in sections]


def _coding(system: str, code: str) -> dict[str, str]:
    return {"system": f"http://terminology.hl7.org/CodeSystem/{system}", "code": code}


@contextmanager
def http_world(folder: Path, before: HttpWorld | None = None, host: str = "127.0.0.1") -> Iterator[HttpWorld]:
    """Served until the block ends. before: a world that has ended; it goes on here, as a copy of its own.

    host: how others call this machine.
    """
    clock = FrozenClock()
    clinic = Clinic(clock)
    clinic.load(loads(RECORD.read_bytes()), "record")
    for patient_id in ("a", "b"):
        clinic.access.allow(_clinic_token(patient_id), patient_id)
    keys = _copied(before, folder) if before else _new_keys(folder)
    with (
        serve(clinic.app()) as source,
        _installation(folder, clock, source, host) as (service, api),
        httpx.Client(base_url=api.url, timeout=30, verify=False) as http,  # not TLS: no need to read certificates
    ):
        known = (before.patients.copy(), before.owners.copy()) if before else ({}, {})
        yield HttpWorld(service, clinic, clock, http, keys, *known)


def _clinic_token(patient_id: str) -> str:
    return f"clinic-token-of-{patient_id}"


def _new_keys(folder: Path) -> dict[str, ECKey]:
    keys = {name: ECKey.generate_key("P-384", {"kid": name}) for name in (*CLIENTS, "server-app")}
    for name, key in keys.items():
        folder.joinpath(f"{name}.jwks").write_bytes(orjson.dumps({"keys": [key.as_dict(private=False)]}))
    return keys


def _copied(before: HttpWorld, folder: Path) -> Mapping[str, ECKey]:
    source = before.service.config.keys.folder.parent
    shutil.copytree(source, folder, dirs_exist_ok=True)
    databases.copy(_store(source), _store(folder))
    return before.keys


def _store(folder: Path) -> Path:
    return folder / "store" / "vaults.db"


@contextmanager
def _installation(folder: Path, clock: FrozenClock, source: Running, host: str) -> Iterator[tuple[Service, Running]]:
    listener = listen()
    port = listener.getsockname()[1]
    config = Config(
        store=databases.settings(_store(folder)),
        blobs=BlobSettings(url=str(folder / "blobs")),
        keys=KeySettings(folder=folder / "keys"),
        limits=GENEROUS,
        http=HttpSettings(port=port, base_url=f"http://{host}:{port}"),
        sources={"klinik": SourceSettings(connector="clinic_fhir", settings={"base_url": f"{source.url}/fhir"})},
        clients={name: _client(folder, name) for name in CLIENTS} | {"app": _app(None), "server-app": _app(folder)},
    )
    service = open_service(config, clock)
    with serve(create_app(service), listener=listener) as api:
        yield service, api
    service.close()


def _app(folder: Path | None) -> ClientSettings:
    """One that runs in a browser, or, with a folder, one on a server that has a key there."""
    keys = folder / "server-app.jwks" if folder else None
    return ClientSettings(name="Blutdruck-Tagebuch", kind="app", redirect_uris=[REDIRECT], jwks_file=keys)


_PURPOSES = {"labor": ["HPAYMT"], "fremd": ["BTG"]}


def _client(folder: Path, name: str) -> ClientSettings:
    return ClientSettings(
        name=name,
        jwks_file=folder / f"{name}.jwks",
        identifiers=[IdentifierSettings(system=PARTIES, value=name)],
        purposes=["TREAT", *_PURPOSES.get(name, ())],
    )
