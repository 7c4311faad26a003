"""Python's FHIR clients, as pip has them and as their documentation says: the service is one server among others."""

from __future__ import annotations

from typing import Any

import pytest
from fhirclient.client import FHIRClient
from fhirclient.models.bundle import Bundle
from fhirclient.models.observation import Observation
from fhirclient.server import FHIRServer
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import ResourceNotFound
from requests import HTTPError

from tests.api.clients_story import OBSERVATION, SEARCH, TRANSACTION, assert_told, base, observations, shown
from tests.api.http_world import REDIRECT, HttpWorld


def test_fhirpy(fresh: HttpWorld) -> None:
    """https://github.com/beda-software/fhir-py"""
    before = observations(fresh)
    client = SyncFHIRClient(base(fresh), authorization=fresh.owner()["Authorization"])
    told: dict[str, Any] = {}
    mine = client.resource(**{**OBSERVATION, "resource_type": "Observation"})
    mine.save()
    told["created"] = shown(mine)
    told["read"] = shown(client.get("Observation", mine.id))
    mine["valueQuantity"] = {"value": 0.5}
    told["updated"] = shown(mine.update())
    told["found"] = [shown(one) for one in client.resources("Observation").search(**SEARCH).fetch()]
    told["paged"] = [one.id for one in client.resources("Observation").limit(2).fetch_all()]
    told["together"] = [one["response"]["status"] for one in client.execute("", data=TRANSACTION)["entry"]]
    mine.delete()
    with pytest.raises(ResourceNotFound):
        client.get("Observation", mine.id)
    told["gone"] = True
    history = client.execute(f"Observation/{mine.id}/_history", method="get")
    told["history"] = [entry["request"]["method"] for entry in history["entry"]]
    assert_told(told, before)


def smart(world: HttpWorld, token: str) -> FHIRServer:
    """fhirclient, as a session that had signed in goes on."""
    auth = {"app_id": "test", "auth_type": "oauth2", "auth": {"access_token": token}, "base_uri": f"{base(world)}/"}
    return FHIRClient(state={"app_id": "test", "server": auth}).server


def test_smart_fhirclient(fresh: HttpWorld) -> None:
    """https://docs.smarthealthit.org/client-py/: its models are strict about what they read."""
    before = observations(fresh)
    server = smart(fresh, fresh.owners["erika"])
    told: dict[str, Any] = {}
    made = Observation(OBSERVATION).create(server)
    told["created"] = shown(made)
    mine = Observation.read(made["id"], server)
    told["read"] = shown(mine.as_json())
    mine.valueQuantity.value = 0.5
    told["updated"] = shown(mine.update())
    told["found"] = [shown(one.as_json()) for one in Observation.where(dict(SEARCH)).perform_resources_iter(server)]
    told["paged"] = [one.id for one in Observation.where({"_count": "2"}).perform_resources_iter(server)]
    told["together"] = [one["response"]["status"] for one in Bundle(TRANSACTION).create(server)["entry"]]
    mine.delete()
    with pytest.raises(HTTPError, match="410"):
        Observation.read(made["id"], server)
    told["gone"] = True
    history = Bundle.read_from(f"Observation/{made['id']}/_history", server)
    told["history"] = [entry.request.method for entry in history.entry]
    server.session.close()
    assert_told(told, before)


def test_an_app_of_smart_fhirclient(fresh: HttpWorld) -> None:
    """Its own launch: endpoints from the CapabilityStatement, and the scopes of SMART's version 1."""
    settings = {"app_id": "app", "api_base": base(fresh), "redirect_uri": REDIRECT}
    app = FHIRClient(settings=settings)
    app.prepare()
    handle = fresh.http.get(app.authorize_url).headers["location"].partition("request=")[2]
    told = fresh.http.post(f"/app/authorizations/{handle}", json={}, headers=fresh.owner()).json()
    app.handle_callback(told["redirect"])
    assert (app.ready, app.patient_id) == (True, fresh.patients["erika"])
    found = list(Observation.where({"patient": app.patient_id}).perform_resources_iter(app.server))
    assert len(found) == 3
    assert app.patient.name[0].family == "Muster"
    app.server.session.close()
