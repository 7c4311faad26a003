"""capabilities: what is served here. https://hl7.org/fhir/R4/http.html#capabilities"""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from aggregator.api.fhir.interaction import Interaction
from aggregator.api.fhir.server import Server, fhir


async def metadata(server: Server, _: Request) -> Response:
    """The CapabilityStatement: https://hl7.org/fhir/R4/capabilitystatement.html"""
    return fhir(server.capability)


async def smart_configuration(server: Server, _: Request) -> Response:
    """https://hl7.org/fhir/smart-app-launch/conformance.html"""
    base = server.service.base_url
    told = {
        "token_endpoint": f"{base}/auth/token",
        "revocation_endpoint": f"{base}/auth/revoke",
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES384", "RS384"],
        "grant_types_supported": ["client_credentials"],
        "scopes_supported": ["system/*.rs", "system/*.c"],
        "capabilities": ["client-confidential-asymmetric", "permission-v2"],
    }
    return Response(orjson.dumps(told), media_type="application/json")


_NONE = frozenset[str]()
INTERACTIONS = (
    Interaction(code="capabilities", method="GET", path="/metadata", endpoint=metadata, types=_NONE),
    Interaction(
        code="capabilities",
        method="GET",
        path="/.well-known/smart-configuration",
        endpoint=smart_configuration,
        types=_NONE,
        raw=True,
    ),
)
