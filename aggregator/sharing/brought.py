"""What an owner brings along: a card's or a link's resources, as the owner's own, beside the original as it came.

Nothing of it counts as said by a clinic: it is the owner's, and what was found out about its origin stands in its
`meta`, where nobody else can write it. It comes whole or not at all.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from aggregator.errors import CallerError
from aggregator.fhir.relink import Linking
from aggregator.fhir.validity import refuse_invalid
from aggregator.identity.accounts import Owner
from aggregator.identity.owner_changes import ISSUER, VERIFICATION, Change, new_local
from aggregator.sharing.health_card import Verdict
from fhir_profiles import build
from fhir_profiles.text import Resource

_PATIENT = "Patient"
_REFUSED = frozenset({"AuditEvent", "Consent", "Provenance"})
"""Types that an owner writes in another way, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """entries: fullUrl -> resource. original: the file as it came, of this media type; name: what it is called."""

    entries: Mapping[str, Resource]
    original: bytes
    media_type: str
    name: str
    verdict: Verdict


def document(owner: Owner, original: bytes) -> str:
    """The local id of the original: brought twice it has the same one."""
    return owner.root.ids().local("vault", "brought", hashlib.sha256(original).hexdigest())


def changes(owner: Owner, brought: Brought, birth_date: str, now: datetime) -> list[Change]:
    """All that is written. birth_date: of the record's person. Raises NotValid, CallerError; then nothing is."""
    _refuse_another_person(brought.entries.values(), birth_date)
    for place, one in enumerate(brought.entries.values()):
        _refuse_unsound(one, f"Bundle.entry[{place}]")
    locals_ = {url: new_local() for url, one in brought.entries.items() if one["resourceType"] != _PATIENT}
    patient = f"{_PATIENT}/{owner.whole_patient}"
    targets = {url: _name(owner, brought.entries[url], local) for url, local in locals_.items()}
    linking = Linking(base_url="", targets=_named(brought.entries, dict.fromkeys(brought.entries, patient) | targets))
    made = [_new(linking.relinked(brought.entries[url]), local, brought.verdict) for url, local in locals_.items()]
    return [*made, _new(_original(brought, patient, now), document(owner, brought.original), brought.verdict)]


def _named(entries: Mapping[str, Resource], targets: Mapping[str, str]) -> dict[str, str]:
    """What the entries call one another: by fullUrl, or by type and id. https://hl7.org/fhir/R4/bundle.html#references"""
    relative = {f"{one['resourceType']}/{one['id']}": targets[url] for url, one in entries.items() if "id" in one}
    return {**relative, **targets}


def _name(owner: Owner, resource: Resource, local: str) -> str:
    return f"{resource['resourceType']}/{owner.vault}.{local}"


def _refuse_unsound(resource: Resource, place: str) -> None:
    if resource["resourceType"] in _REFUSED:
        raise CallerError.at(place, f"a {resource['resourceType']} is not brought along like this; nothing was taken")
    refuse_invalid(resource, place)


def _new(resource: Resource, local: str, verdict: Verdict) -> Change:
    own = {name: value for name, value in resource.items() if name != "id"}
    return Change(
        resource_type=resource["resourceType"],
        local=local,
        edit=lambda _: own,
        new=True,
        origin={ISSUER: verdict.issuer, VERIFICATION: f"{verdict.result}: {verdict.reason}"},
    )


def _original(brought: Brought, patient: str, now: datetime) -> Resource:
    """So that nothing is lost, and the signature can be checked again."""
    return {
        "resourceType": "DocumentReference",
        "status": "current",
        "type": {"text": brought.name},
        "subject": build.reference(patient),
        "date": build.instant(now),
        "content": [
            {
                "attachment": {
                    "contentType": brought.media_type,
                    "data": base64.b64encode(brought.original).decode(),
                    "title": brought.name,
                }
            }
        ],
    }


def _refuse_another_person(resources: Iterable[Resource], birth_date: str) -> None:
    """Names are spelled in many ways; a birth date is not."""
    for one in resources:
        stated = one.get("birthDate") if one["resourceType"] == _PATIENT else None
        if isinstance(stated, str) and not birth_date.startswith(stated):
            raise CallerError("this is about somebody with another date of birth; nothing was taken")
