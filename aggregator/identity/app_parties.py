"""Apps: each approval that a patient gives one makes a grantee of its own, `app/<authorization>`.

It is a grantee like every other. The Consent that is signed with the approval names it as
`provision.actor.reference.identifier` {system APP_AUTHORIZATION, value: the authorization}. An authorization is the
vault's id, a dot and 130 random bits, so that no vault's Consents can name one of another's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from aggregator.consent.decide import Party, PartyKind
from aggregator.consent.reach import named_values
from aggregator.vault.encoding import b32
from fhir_profiles.codes import APP_AUTHORIZATION
from fhir_profiles.text import Resource

APP = "app/"
"""What the id of a party begins with that is an approval of an app; the authorization follows."""

PURPOSE = "PATRQT"
"""An app reads because the patient asks for it, and for nothing else."""

_AUTHORIZATION = re.compile(r"([a-z2-7]{26})\.[a-z2-7]{26}")


def new_authorization(vault: str) -> str:
    """The name of an approval that is given just now."""
    return f"{vault}.{b32(os.urandom(16))}"


def party(authorization: str) -> Party:
    """The grantee that an approval makes."""
    return Party(APP + authorization, frozenset({(APP_AUTHORIZATION, authorization)}), PartyKind.APP)


def vault_of(authorization: str) -> str:
    """The one vault that it can ever open."""
    return authorization.partition(".")[0]


def named(consents: Sequence[Resource], vault: str) -> list[Party]:
    """The apps whom these Consents of a vault name anywhere: by authorizations of this vault alone."""
    found = map(_AUTHORIZATION.fullmatch, named_values(consents, APP_AUTHORIZATION))
    return [party(one) for one in sorted(match[0] for match in found if match and match[1] == vault)]
