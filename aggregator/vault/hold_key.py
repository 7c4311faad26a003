"""The key pair that a feed's hold is sealed to, and the claims for which it opens (FORMAT.md section 14)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from aggregator.errors import Refused
from aggregator.vault.key_service import Held, HoldClaim
from aggregator.vault.keys import verify
from aggregator.vault.ring_rows import RingRows
from aggregator.vault.seal import PrivateKey, PublicKey

_CLAIM_SECONDS = 300  # a claim to held items is made in the request that verifies


class HoldKey:
    """One of the ring's own keys, which never leaves it."""

    def __init__(self, rows: RingRows) -> None:
        self._rows = rows

    def public(self) -> PublicKey:
        return self._key().public()

    def open(self, claim: HoldClaim, held: Held, now: datetime) -> bytes:
        verify(self._rows.verification_key(claim.vault), claim.signature, b"PRA1/hold" + claim.statement, "claim")
        stated = orjson.loads(claim.statement)
        if not _covers(stated, claim, held) or abs(now.timestamp() - stated["at"]) > _CLAIM_SECONDS:
            raise Refused("this claim opens no such item")
        if held.expires <= now.timestamp():
            raise Refused("this item is held no longer")
        return self._key().open(held.header(), held.box)

    def _key(self) -> PrivateKey:
        return PrivateKey(self._rows.own("hold"))


def _covers(stated: dict[str, Any], claim: HoldClaim, held: Held) -> bool:
    named = (stated["kind"], stated["vault"], stated["feed"])
    return named == ("hold", claim.vault, held.feed.hex()) and held.tag.hex() in stated["tags"]
