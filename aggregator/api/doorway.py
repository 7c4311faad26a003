"""Who tries many logins from one address waits, as who tries many passwords at one login does (identity/attempts.py).

The address is the connection's, or, behind proxies that the operator has named, the one that the first of them tells
(https://www.rfc-editor.org/rfc/rfc7239#section-5.2, by its old name X-Forwarded-For). Of somebody in a network of one's
own it says nothing: there a proxy comes that was not named, and all behind it would be one. An address is not kept: it
is counted under a keyed handle, over a restart, for an hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import ParamSpec, TypeVar

from starlette.requests import Request

from aggregator.api.headers import header
from aggregator.api.service import Service
from aggregator.errors import SignInFailed
from aggregator.identity import attempts
from aggregator.identity.turns import Turns

_P = ParamSpec("_P")
_T = TypeVar("_T")

FREE_TRIES = 50
"""Wrong ones within an hour before one waits: a ward or a family shares an address."""


class Doorway:
    """What runs Argon2 or makes an account for a caller who is not known yet: counted by address, and in its turn."""

    def __init__(self, service: Service, turns: Turns) -> None:
        self._service = service
        self._turns = turns

    async def through(self, request: Request, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call it when its turn comes; what succeeds does not count. Raises SignInFailed, and as the call and Turns."""
        address = source(request, self._service.config.http.trusted_proxies)
        if not address:
            return await self._turns.take(call, *args, **kwargs)
        handle = self._service.key_service.handle("address", address)
        await asyncio.to_thread(self._count, handle)
        made = await self._turns.take(call, *args, **kwargs)
        await asyncio.to_thread(self._take_back, handle)
        return made

    def _count(self, handle: bytes) -> None:
        with self._service.store.write(attempts.NAME) as session:
            wait = attempts.count(session, handle, self._service.clock().timestamp(), FREE_TRIES)
        if wait:
            raise SignInFailed(f"too many tries; wait {int(wait) + 1} seconds")

    def _take_back(self, handle: bytes) -> None:
        with self._service.store.write(attempts.NAME) as session:
            attempts.take_back(session, handle)


def source(request: Request, proxies: int) -> str:
    """The address that a request came from, of IPv6 the network of one household; empty where nothing is known of it.

    proxies: how many stand before this service, each of which adds whom it was asked by.
    """
    peer = request.client.host if request.client else ""
    told = [one.strip() for one in (header(request, b"x-forwarded-for") or "").split(",") if one.strip()]
    try:
        address = ip_address(told[-proxies] if 0 < proxies <= len(told) else peer)
    except ValueError:
        return ""
    if not address.is_global:
        return ""
    return str(ip_network((address, 64), strict=False) if isinstance(address, IPv6Address) else address)
