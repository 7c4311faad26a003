"""The public keys by which a client's signatures are checked: written down here, or kept up to date by itself.

https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html#registering-a-client-communicating-public-keys
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

import orjson
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from aggregator.errors import OperatorError
from connectors.contract import Clock, ConnectorError

logger = logging.getLogger(__name__)

Fetch = Callable[[str], bytes]
"""GET from an address that somebody else has named. Raises ConnectorError."""

_FRESH = 600  # seconds a fetched set is used without asking again
_STALE = 3600  # and where nobody answers: then a key that was taken back cannot live on
_PAUSE = 60  # seconds between two tries
_MOST_KEYS = 20
_LEAST_RSA_BITS = 2048


class Keys(Protocol):
    """A client's keys."""

    def having(self, kid: str | None) -> KeySet:
        """Those that count now; looked for again where none has this name. Raises LookupError where there are none."""


class FixedKeys:
    """Keys that change with the settings alone."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    def having(self, kid: str | None) -> KeySet:
        """All of them."""
        _ = kid
        return self._keys


class FetchedKeys:
    """Keys at an address of somebody's own, who may change them there at any time. One thread fetches.

    place: the setting that names the address, for what is logged.
    """

    def __init__(self, place: str, address: str, fetch: Fetch, clock: Clock) -> None:
        self._place = place
        self._address = address
        self._fetch = fetch
        self._clock = clock
        self._keys: KeySet | None = None
        self._fetched = self._tried = float("-inf")
        self._fetching = threading.Lock()

    def having(self, kid: str | None) -> KeySet:
        """What was fetched last; once a minute at most anew. The key that a client no longer shows is gone with it."""
        if self._wanted(kid) and self._fetching.acquire(blocking=self._keys is None):
            try:
                if self._wanted(kid):
                    self._renew()
            finally:
                self._fetching.release()
        if self._keys is None or not self._within(self._fetched, _STALE):
            raise LookupError
        return self._keys

    def _wanted(self, kid: str | None) -> bool:
        if self._within(self._tried, _PAUSE):
            return False
        known = self._keys is not None and (kid is None or any(key.kid == kid for key in self._keys))
        return not known or not self._within(self._fetched, _FRESH)

    def _within(self, since: float, seconds: float) -> bool:
        """A clock that was set back makes nothing young."""
        return 0 <= self._clock().timestamp() - since < seconds

    def _renew(self) -> None:
        now = self._clock().timestamp()
        try:
            self._keys = key_set(_json(self._fetch(self._address)), f"{self._place}: what is there")
            self._fetched = now
        except OperatorError as error:
            logger.warning("%s", error)
        except ConnectorError as error:
            logger.warning("%s: %s", self._place, error)
        self._tried = now  # not before: those who have no key yet wait for this one


def key_set(told: Any, place: str) -> KeySet:
    """A JWK set of public keys. place: what the message begins with. Raises OperatorError."""
    try:
        keys = KeySet.import_key_set(told)
    except (ValueError, KeyError, TypeError, AttributeError, JoseError):
        raise OperatorError(f"{place} is no JWK set; write the client's public keys there") from None
    if any(key.is_private for key in keys.keys):
        raise OperatorError(f"{place} holds a private key; only public ones go there")
    if len(keys.keys) > _MOST_KEYS:
        raise OperatorError(f"{place} holds more than {_MOST_KEYS} keys")
    if any(isinstance(key, RSAKey) and key.raw_value.key_size < _LEAST_RSA_BITS for key in keys.keys):
        raise OperatorError(f"{place} holds an RSA key of less than {_LEAST_RSA_BITS} bits")
    return keys


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        return None
