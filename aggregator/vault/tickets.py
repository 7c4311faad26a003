"""Whom a token stands for: rows that the key service seals when it admits a caller, and reads when one comes again."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson

from aggregator.errors import Refused
from aggregator.vault.key_service import PERSON, PERSONS_PURPOSE, Admission, Proof, Ticket
from aggregator.vault.keys import verify
from aggregator.vault.ring_rows import RingRows
from aggregator.vault.seal import header, unwrap, wrap

_PROOF_SECONDS = 300  # a person's proof is made in the request that opens


class Tickets:
    """What KeyService does with callers: a row lies under a key of the ring's own and the token."""

    def __init__(self, rows: RingRows) -> None:
        self._rows = rows

    def admit(self, token: str, admission: Admission) -> bytes:
        if admission.party.startswith(PERSON):
            raise Refused("a person is admitted by a proof alone")
        return self._admit(token, admission)

    def admit_person(self, token: str, proof: Proof, now: datetime) -> bytes:
        verify(self._rows.verification_key(proof.vault), proof.signature, b"PRA1/proof" + proof.statement, "proof")
        stated = orjson.loads(proof.statement)
        if not _proves(stated, proof.vault, token):
            raise Refused("this proof is for something else")
        if not _is_of_now(stated["expires"], now):
            raise Refused("this proof is of another time")
        party = Admission(party=PERSON + proof.vault, purpose=PERSONS_PURPOSE, scopes=(), expires=stated["expires"])
        return self._admit(token, party)

    def _admit(self, token: str, admission: Admission) -> bytes:
        return wrap(self._key(token), header("token", ""), orjson.dumps(asdict(admission)))

    def identify(self, ticket: Ticket, now: datetime) -> Admission:
        made = orjson.loads(unwrap(self._key(ticket.token), header("token", ""), ticket.row))
        if _is_over(made["expires"], now):
            raise Refused("the token has expired")
        made["scopes"] = tuple(made["scopes"])
        return Admission(**made)

    def _key(self, token: str) -> bytes:
        # The token is 256 random bits: mixed with a key of the ring's, neither alone opens the row.
        return hmac.digest(self._rows.own("tickets"), token.encode(), "sha256")


def _is_over(expires: int, now: datetime) -> bool:
    return expires <= now.timestamp()


def _is_of_now(expires: int, now: datetime) -> bool:
    return now.timestamp() < expires <= now.timestamp() + _PROOF_SECONDS


def _proves(stated: dict[str, Any], vault: str, token: str) -> bool:
    named = (stated["kind"], stated["vault"], stated["token"], stated["purpose"])
    return named == ("proof", vault, hashlib.sha256(token.encode()).hexdigest(), PERSONS_PURPOSE)
