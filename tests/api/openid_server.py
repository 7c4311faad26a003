"""A sign-in provider over real sockets, after OpenID Connect's own words: for tests, with what it can do wrong."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.vault.world import FrozenClock

KEY = ECKey.generate_key("P-256", {"kid": "provider"})
CLIENT, SECRET = "aggregator", "geheim: & wahr"

Told = dict[str, Any]


class OpenIdServer:
    """claims: changes what an ID token says; sign: how it is signed; document: changes what is told of the provider.

    knows: by what a client is known, of its Authorization header and its form.
    """

    def __init__(self, clock: FrozenClock) -> None:
        self.issuer = ""
        self.document: Told = {}
        self.claims: Told = {}
        self.sign: Callable[[Told], str] = self.signed
        self.knows: Callable[[str, Told], bool] = self.by_secret
        self.exchanges = 0
        self._clock = clock
        self._codes: dict[str, Told] = {}

    def app(self) -> Starlette:
        routes = [
            Route("/.well-known/openid-configuration", self._configuration),
            Route("/jwks", self._jwks),
            Route("/token", self._token, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    def let_in(self, location: str, subject: str) -> Told:
        """Somebody signs in at the address that the browser was sent to: the parameters that it comes back with."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert (asked["scope"], asked["client_id"]) == ("openid", CLIENT)
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked | {"sub": subject}
        return {"code": code, "state": asked["state"], "iss": self.issuer}

    @staticmethod
    def by_secret(authorization: str, _: Told) -> bool:
        pair = base64.b64encode(b"aggregator:geheim%3A%20%26%20wahr").decode()
        return authorization == f"Basic {pair}"

    @staticmethod
    def signed(claims: Told) -> str:
        return jwt.encode({"alg": "ES256", "kid": "provider"}, claims, KEY, algorithms=["ES256"])

    async def _configuration(self, _: Request) -> Response:
        places = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/jwks"}
        told = {"issuer": self.issuer} | {name: self.issuer + path for name, path in places.items()}
        return JSONResponse(told | self.document)

    async def _jwks(self, _: Request) -> Response:
        return JSONResponse(KeySet([KEY]).as_dict(private=False))

    async def _token(self, request: Request) -> Response:
        self.exchanges += 1
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        asked = self._codes.pop(form.get("code", ""), None)
        known = self.knows(request.headers.get("authorization", ""), form)
        if asked is None or not known or form["redirect_uri"] != asked["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(self._clock().timestamp())
        made = {"iss": self.issuer, "aud": CLIENT, "sub": asked["sub"], "nonce": asked["nonce"]}
        made |= {"iat": now, "exp": now + 300} | self.claims
        token = self.sign({name: value for name, value in made.items() if value is not None})
        return JSONResponse({"access_token": "x", "token_type": "Bearer", "id_token": token})
