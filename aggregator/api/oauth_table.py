"""What the authorization server offers: one table for its routes, its two documents and the CapabilityStatement.

https://hl7.org/fhir/smart-app-launch/conformance.html, https://www.rfc-editor.org/rfc/rfc8414 and
https://openid.net/specs/openid-connect-discovery-1_0.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aggregator.identity import app_scopes, dpop, scopes
from aggregator.identity.app_tokens import GRANT_TYPES
from aggregator.identity.assertions import ALGORITHMS
from aggregator.identity.id_tokens import ALGORITHM

ENDPOINTS: Mapping[str, str] = {
    "authorization_endpoint": "/auth/authorize",
    "token_endpoint": "/auth/token",
    "introspection_endpoint": "/auth/introspect",
    "revocation_endpoint": "/auth/revoke",
    "pushed_authorization_request_endpoint": "/auth/par",
    "registration_endpoint": "/auth/register",
    "jwks_uri": "/auth/jwks",
}
"""Each endpoint's name in the documents, and its path."""

DOCUMENTS = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")

OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
_OAUTH_URIS = {
    "authorize": "authorization_endpoint",
    "token": "token_endpoint",
    "introspect": "introspection_endpoint",
    "revoke": "revocation_endpoint",
}

_CAPABILITIES = [
    "launch-ehr",
    "launch-standalone",
    "authorize-post",
    "client-public",
    "client-confidential-asymmetric",
    "sso-openid-connect",
    "context-ehr-patient",
    "context-standalone-patient",
    "permission-offline",
    "permission-online",
    "permission-patient",
    "permission-user",
    "permission-v1",
    "permission-v2",
]


def document(base_url: str) -> dict[str, Any]:
    """What all three documents say."""
    return {
        "issuer": base_url,
        **{name: base_url + path for name, path in ENDPOINTS.items()},
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [*GRANT_TYPES, "client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "introspection_endpoint_auth_methods_supported": ["private_key_jwt"],
        "introspection_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "dpop_signing_alg_values_supported": dpop.ALGORITHMS,
        "authorization_response_iss_parameter_supported": True,
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "scopes_supported": _scopes(),
        "capabilities": _CAPABILITIES,
    }


def security(base_url: str) -> dict[str, Any]:
    """CapabilityStatement.rest.security, with the extension that apps of older versions of SMART read."""
    coding = {"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}
    told = [{"url": name, "valueUri": base_url + ENDPOINTS[endpoint]} for name, endpoint in _OAUTH_URIS.items()]
    return {"extension": [{"url": OAUTH_URIS, "extension": told}], "service": [{"coding": [coding]}]}


def _scopes() -> list[str]:
    reading = [f"{context}/{app_scopes.EVERY}.{letter}" for context in app_scopes.CONTEXTS for letter in "rs"]
    return [*app_scopes.PLAIN, *reading, *(f"system/*.{letter}" for letter in scopes.LETTERS)]
