"""Asks an address that somebody else has named: where keys are, what a sign-in provider offers, where a link leads.

Nobody may make this service speak to the network it stands in
(https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html): only https, no
redirect, and a host is looked up once, must lie in the public internet with all of its addresses, and the first of them
is the one that is connected to, whatever its name means a moment later.

The ranges: https://www.iana.org/assignments/iana-ipv4-special-registry and
https://www.iana.org/assignments/ipv6-address-space, .../iana-ipv6-special-registry
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx

from connectors.contract import NeedsOperator, Transient
from connectors.http import exchange

Resolve = Callable[[str, int], Sequence[str]]
"""(host, port) -> its addresses. Raises OSError."""

_MAX_BYTES = 256 * 1024
_ACCEPTED = "application/json, application/jose"
_JSON = {"Content-Type": "application/json"}
_SECONDS = 5.0  # for all of it: somebody may wait
_PUBLIC_IPV6 = ip_network("2000::/3")  # all else is this machine, this network, a group, or IPv4 in disguise
_SPECIAL = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # groups, and what is reserved
            "2001::/23",  # Teredo among them, which holds an IPv4 address
            "2001:db8::/32",
            "2002::/16",  # 6to4, which holds one too
            "3fff::/20",
        ),
    )
)


class Fetcher:
    """loopback: this machine itself may be meant, also by plain http: for trials. trust: instead of the public CAs."""

    def __init__(
        self, *, loopback: bool = False, resolve: Resolve | None = None, trust: ssl.SSLContext | None = None
    ) -> None:
        self._loopback = loopback
        self._resolve = resolve or _look_up
        self._trust = trust

    def get(self, address: str, *, most: int = _MAX_BYTES) -> bytes:
        """What is there: at most so many bytes, within seconds. Raises NeedsOperator, Transient; in no event loop."""
        return self._ask(address, None, most, {})

    def post(self, address: str, body: bytes, *, most: int = _MAX_BYTES, headers: Mapping[str, str] = _JSON) -> bytes:
        """The same for who sends something there: JSON, where the headers do not say otherwise."""
        return self._ask(address, body, most, headers)

    def _ask(self, address: str, body: bytes | None, most: int, headers: Mapping[str, str]) -> bytes:
        url = _parsed(address)
        pinned = self._pinned(url)
        return asyncio.run(self._exchange(url, pinned, body, most, headers))

    def _pinned(self, url: httpx.URL) -> str:
        """The one address that is connected to."""
        try:
            found = [ip_address(one) for one in self._resolve(_name(url), url.port or 443)]
        except (OSError, ValueError):
            raise Transient("The address is not found: it is tried again.") from None
        here = self._loopback and all(one.is_loopback for one in found)
        if not found or not (here or all(map(is_public, found))):
            raise NeedsOperator("The address lies in no public network: nothing of ours goes there.")
        if url.scheme != "https" and not here:
            raise NeedsOperator("The address is not https.")
        return str(found[0])

    async def _exchange(
        self, url: httpx.URL, pinned: str, body: bytes | None, most: int, more: Mapping[str, str]
    ) -> bytes:
        """The name stays in the Host header and in the certificate's check; it is not looked up again."""
        there = url.copy_with(host=pinned)
        headers = {"Host": url.netloc.decode("ascii"), "Accept": _ACCEPTED, "Accept-Encoding": "gzip", **more}
        method, named = "GET" if body is None else "POST", _name(url)
        async with httpx.AsyncClient(verify=self._trust or True, trust_env=False) as client:
            answer = await exchange(
                client,
                method,
                there,
                headers=headers,
                content=body,
                max_bytes=most,
                seconds=_SECONDS,
                server_name=named,
            )
        if not 200 <= answer.status < 300:
            raise Transient(f"The address answers {answer.status}: it is tried again.")
        return answer.body


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Does it lie in the public internet, and not in a range with a meaning of its own?"""
    if isinstance(address, IPv6Address) and address not in _PUBLIC_IPV6:
        return False
    return not any(address in range_ for range_ in _SPECIAL)


def _parsed(address: str) -> httpx.URL:
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, TypeError):
        raise NeedsOperator("The address is none.") from None
    sound = url.scheme in ("https", "http") and url.host and (url.port or 443) < 65536
    if not sound or url.userinfo or url.fragment:
        raise NeedsOperator("The address is not https, or holds a user name or a fragment.")
    return url


def _name(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii")


def _look_up(host: str, port: int) -> Sequence[str]:
    return [str(told[4][0]) for told in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
