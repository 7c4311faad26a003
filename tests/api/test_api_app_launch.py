"""An app asks, the patient approves and narrows, the app reads exactly that, until the patient ends it."""

from __future__ import annotations

from joserfc import jwt
from joserfc.jwk import KeySet

from tests.api.app_world import App, bearer
from tests.api.http_world import HttpWorld


def test_an_app_reads_what_was_approved(fresh: HttpWorld) -> None:
    tokens = App(fresh).tokens()
    assert tokens["patient"] == fresh.patients["erika"]
    assert tokens["scope"] == "launch/patient openid fhirUser offline_access patient/*.rs"
    found = fresh.everything(bearer(tokens))
    assert {"Patient", "Observation"} <= {one["resourceType"] for one in found}
    keys = KeySet.import_key_set(fresh.http.get("/auth/jwks").json())
    claims = jwt.decode(tokens["id_token"], keys, algorithms=["ES256"]).claims
    assert claims["fhirUser"] == f"{fresh.service.base_url}/fhir/Patient/{fresh.patients['erika']}"
    assert (claims["iss"], claims["aud"]) == (fresh.service.base_url, "app")
