"""What an owner shares: a patient summary, sections, or single resources, made from a view that holds no more."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from aggregator.consent.section_table import DIRECTORY, UNSORTED, SectionTable
from aggregator.errors import CallerError
from aggregator.fhir.bundle import Answer
from aggregator.fhir.patient_summary import Making, summary
from aggregator.identity.accounts import Owner
from aggregator.vault.epochs import OwnersSeeds
from aggregator.vault.index_rows import Indexer
from aggregator.vault.mask import BINARY
from aggregator.vault.store import Store
from aggregator.vault.view import Reader, View, fresh_view
from fhir_profiles import build
from fhir_profiles.profiles import SECTIONS
from fhir_profiles.text import Resource, dumps, peek

SUMMARY, COLLECTION = "summary", "collection"
"""An International Patient Summary of what is chosen; or all of it, as it lies in the record."""

_ALONG = (DIRECTORY, BINARY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """form: SUMMARY or COLLECTION. sections: whose resources. resources: "Type/id"; none for all of the sections."""

    form: str
    sections: tuple[str, ...]
    resources: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        """As JSON; `stated` reads it."""
        return {"form": self.form, "sections": list(self.sections), "resources": list(self.resources)}


def stated(told: Mapping[str, Any], table: SectionTable) -> Content:
    """From {form?, sections?, resources?}: a summary without the sensitive sections where nothing is said.

    Raises CallerError.
    """
    resources = _names(told, "resources")
    form = told.get("form", COLLECTION if resources else SUMMARY)
    if form not in (SUMMARY, COLLECTION) or (resources and form != COLLECTION):
        raise CallerError.at("form", f"{SUMMARY} or {COLLECTION} is expected; single resources are a {COLLECTION}")
    usual = [name for name in SECTIONS if name not in (*table.sensitive, UNSORTED)]
    sections = _names(told, "sections") or (SECTIONS if resources else usual)
    if unknown := set(sections) - set(SECTIONS):
        raise CallerError.at("sections", f"there is no section {min(unknown)}; there are {', '.join(SECTIONS)}")
    return Content(form=form, sections=tuple(sorted(sections)), resources=tuple(resources))


def _names(told: Mapping[str, Any], member: str) -> list[str]:
    names = told.get(member, [])
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise CallerError.at(member, "a list of names is expected")
    return names


def make(store: Store, indexer: Indexer, owner: Owner, content: Content, now: datetime, base_url: str) -> Answer:
    """The Bundle, and how many resources of the record it shows. base_url: of the FHIR service.

    Raises Tampered.
    """
    view = fresh_view(store, owner.vault, _reader(owner, content), indexer)
    try:
        if content.form == SUMMARY:
            return summary(view, owner.whole_patient, Making(base_url=base_url, now=now, id=uuid.uuid4()))
        return _collection(view, now, base_url)
    finally:
        view.close()


def _reader(owner: Owner, content: Content) -> Reader:
    """Who sees what is chosen and nothing else: with that come the directory's entries and Binaries it refers to."""
    opened = {*content.sections, DIRECTORY}
    wanted = frozenset(content.resources)

    def permits(section: str, resource: Resource) -> bool:
        kind = resource["resourceType"]
        named = not wanted or f"{kind}/{resource['id']}" in wanted
        return named or section in _ALONG or kind in _ALONG or resource["id"] == owner.whole_patient

    return Reader(
        id="link",
        seeds=OwnersSeeds(owner.root, {name: owner.sections[name] for name in opened}),
        verification_key=owner.root.verification_key,
        image_key=b"",  # nothing of this view is stored
        patient=owner.patient,
        permits=permits,
    )


def _collection(view: View, now: datetime, base_url: str) -> Answer:
    image = view.image
    found = [one for rids in image.kinds.values() for one in image.served(rids)]
    entries = [(f"{one.resource_type}/{view.vault}.{one.local}", one.body) for one in found]
    bundle: Resource = {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": build.instant(now),
        "entry": [{"fullUrl": f"{base_url}/{name}", "resource": orjson.Fragment(body)} for name, body in entries],
    }
    return Answer(dumps(bundle), len(entries))


def refuse_missing(content: Content, made: Answer) -> None:
    """Raises CallerError for a resource that was named and is not in what was made."""
    if content.resources:
        found = {str(one["fullUrl"]) for one in peek(made.body)["entry"]}
        for name in content.resources:
            if not any(url.endswith(f"/{name}") for url in found):
                raise CallerError.at("resources", f"there is no {name} in your record")
