"""Who issues SMART Health Cards: those whom the operator trusts, from a folder; others by what they publish.

A file of the folder: {"iss", "name", "keys": [JWK, ...], "crls": [{"kid", "rids"}, ...]?}. Of others the keys lie at
`<iss>/.well-known/jwks.json`; that they are there says that whoever signed holds that address, and no more.
https://hl7.org/fhir/uv/smart-health-cards-and-links/cards-specification.html#determining-keys-associated-with-an-issuer
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from aggregator.errors import OperatorError
from aggregator.sharing.health_card import Card, Issuer
from connectors.contract import ConnectorError
from fhir_profiles.text import NotJson, loads

Fetch = Callable[[str], bytes]
"""GET from an address that somebody else has named. Raises ConnectorError."""

_MOST_KEYS = 100


class Issuers:
    """Those of one installation."""

    def __init__(self, trusted: Mapping[str, Issuer], fetch: Fetch) -> None:
        self._trusted = trusted
        self._fetch = fetch

    def of(self, card: Card) -> Issuer | None:
        """The issuer of a card; None where its keys cannot be had."""
        if card.issuer in self._trusted:
            return self._trusted[card.issuer]
        keys = self._listed(f"{card.issuer}/.well-known/jwks.json", "keys")
        if keys is None:
            return None
        own = [one for one in keys if isinstance(one, dict)][:_MOST_KEYS]
        if not any(one.get("kid") == card.kid and "crlVersion" in one for one in own):
            return Issuer(name="", trusted=False, keys=own)
        revoked = self._listed(f"{card.issuer}/.well-known/crl/{card.kid}.json", "rids")
        return Issuer(
            name="",
            trusted=False,
            keys=own,
            revoked={card.kid: [one for one in revoked or () if isinstance(one, str)]},
            unreadable=frozenset([card.kid] if revoked is None else []),
        )

    def _listed(self, address: str, member: str) -> list[Any] | None:
        try:
            found = loads(self._fetch(address))[member]
        except (ConnectorError, NotJson, KeyError, TypeError):
            return None
        return found if isinstance(found, list) else None


def trusted(folder: str) -> dict[str, Issuer]:
    """Issuer's address -> issuer, from the operator's folder; none where there is no folder. Raises OperatorError."""
    if not folder:
        return {}
    if not Path(folder).is_dir():
        raise OperatorError(f"cards.issuers: {folder} is no folder; put a file for each trusted issuer there")
    made = dict[str, Issuer]()
    for path in sorted(Path(folder).glob("*.json")):
        try:
            told = loads(path.read_bytes())
            made[told["iss"]] = Issuer(name=str(told["name"]), trusted=True, keys=told["keys"], revoked=_lists(told))
        except (OSError, NotJson, KeyError, TypeError):
            raise OperatorError(f'cards.issuers: {path} is not {{"iss", "name", "keys"}}; correct it') from None
    return made


def _lists(told: Mapping[str, Any]) -> dict[str, Collection[str]]:
    return {one["kid"]: one["rids"] for one in told.get("crls", ())}
