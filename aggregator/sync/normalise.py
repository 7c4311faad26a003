"""From what a source showed to what the vault stores: checked, with the vault's ids and references, in a section.

Pure: the same item under the same mandate gives the same result. Only `id`, `meta` and references change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aggregator.consent.mandate import Mandate
from aggregator.consent.section_table import SectionTable
from aggregator.sync.attached import LONGEST, Attached, take_out, take_own
from aggregator.sync.whose import LITERAL, Whose, subject_of
from aggregator.vault import ledger
from connectors.contract import Found, Reason
from fhir_profiles.check import check
from fhir_profiles.profiles import unclaimed
from fhir_profiles.text import Resource, dumps

_MOST_LOCALS = 4096  # half a megabyte of ids, more than a page of a source refers to
# A document keeps its own references: they point into the document, not into the vault.
_CLOSED_TYPES = frozenset({"Bundle"})


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an item stands aside. `keep`: may the payload be kept (not when it is about another person)."""

    reason: Reason
    detail: str
    keep: bool = True


@dataclass(frozen=True, slots=True)
class Normal:
    """A resource ready for the vault, but for version and time.

    attached: the Binaries taken out of it. data: a Binary's own data, where it does not lie in it.
    """

    local: str
    section: str
    resource: Resource
    tag_content: bytes
    warnings: tuple[str, ...]
    origin: Mapping[str, str]
    attached: tuple[Attached, ...] = ()
    data: str | None = None


@dataclass(slots=True)
class Normaliser:
    """One run's way from items to resources. `patients`: the source's Patients that are this person ("Patient/x")."""

    mandate: Mandate
    table: SectionTable
    connector: str
    patients: set[str] = field(default_factory=set)
    _locals: dict[str, str] = field(default_factory=dict)

    def local(self, source_id: str) -> str:
        """The local id of a thing of this source. Remembered: it is asked for again where something refers to it."""
        found = self._locals.get(source_id)
        if found is None:
            found = self.mandate.ids.local(self.mandate.authority, self.mandate.account, source_id)
            if len(self._locals) >= _MOST_LOCALS:
                self._locals.clear()
            self._locals[source_id] = found
        return found

    def attached(self, local: str, number: int) -> str:
        """The local id of the n-th Binary taken out of the resource with this one: a blind writer can name it."""
        return self.local(f"{local}#{number}")

    def normalise(self, item: Found) -> Normal | Refused:
        """Compare the person, check, rewrite, place. The person first: what is wrong in somebody else's is not kept."""
        resource = item.resource
        if refused := self._whose(item):
            return refused
        issues = check(resource)
        errors = [issue for issue in issues if issue.severity == "error"]
        if errors:
            unknown = any(issue.code == "not-supported" for issue in errors)
            detail = "; ".join(f"{issue.expression}: {issue.text}" for issue in errors[:5])
            return Refused(Reason.UNKNOWN_TYPE if unknown else Reason.INVALID, detail)
        placement = self.table.section_of(resource)
        content = ledger.content(resource, dumps)
        made = self._rewrite(resource, item.origin.source_id)
        attached, data = tuple[Attached, ...](), None
        if len(content) > LONGEST and made["resourceType"] not in _CLOSED_TYPES:  # most resources need not be searched
            local = self.local(item.origin.source_id)
            attached = take_out(made, self.mandate.vault, lambda number: self.attached(local, number))
            data = take_own(made)
        warnings = (*item.warnings, *(f"{issue.expression}: {issue.text}" for issue in issues))
        return Normal(
            self.local(item.origin.source_id),
            placement.section,
            made,
            content,
            warnings,
            self.origin(item),
            attached,
            data,
        )

    def origin(self, item: Any) -> dict[str, str]:
        """What Provenance is made of when it is read."""
        origin = item.origin
        return {
            "source": self.mandate.authority,
            "locator": origin.locator,
            "source_id": origin.source_id,
            "fetched_at": origin.fetched_at.isoformat(),
            # 64 bits still tell a payload from every other of its item, and a hash does not compress (FORMAT.md, 5).
            "hash": f"sha-256-64;{origin.sha256[:16]}",
            "connector": self.connector,
        }

    def _whose(self, item: Found) -> Refused | None:
        resource = item.resource
        if resource.get("resourceType") == "Patient":
            same = self.mandate.expected.compare(subject_of(resource))
            if same is None:
                return Refused(Reason.NO_SUBJECT, "the source does not say who this patient is", keep=False)
            if not same:
                # A source may give an id to somebody else: what comes under it from now on is not this person's.
                self.patients.discard(item.origin.source_id)
                return Refused(Reason.OTHER_PERSON, "", keep=False)
            self.patients.add(item.origin.source_id)
            return None
        if not self.patients:
            return Refused(Reason.OTHER_PERSON, "", keep=False)
        if reason := Whose(self.mandate.expected, self.patients).refuse(resource):
            return Refused(reason, "", keep=False)
        return None

    def _rewrite(self, resource: Resource, source_id: str) -> Resource:
        closed = resource["resourceType"] in _CLOSED_TYPES
        made: Resource = dict(resource) if closed else self._walk(resource)
        made["id"] = f"{self.mandate.vault}.{self.local(source_id)}"
        meta = {"versionId": "", "lastUpdated": "", **unclaimed(made.get("meta") or {})}
        made["meta"] = meta | {"source": f"urn:aggregator:source:{self.mandate.authority}"}
        if resource["resourceType"] == "Patient":
            made["link"] = [*made.get("link", []), {"other": {"reference": self._patient()}, "type": "refer"}]
        return _ordered(made)

    def _walk(self, node: Any) -> Any:
        """A copy in which a target is ours: a Reference's, and an Attachment's that points to a Binary as one does."""
        if type(node) is list:
            return [self._walk(child) for child in node]
        if type(node) is not dict:
            return node
        made = {name: child if type(child) is str else self._walk(child) for name, child in node.items()}
        if type(target := made.get("reference")) is str:
            made["reference"] = self._target(target)
        if type(url := made.get("url")) is str and url.startswith("Binary/"):
            made["url"] = self._target(url)
        return made

    def _target(self, reference: str) -> str:
        found = LITERAL.fullmatch(reference)
        if found is None:
            return reference
        source_id = f"{found[1]}/{found[2]}"
        if source_id in self.patients:
            return self._patient()
        if found[2].startswith(f"{self.mandate.vault}."):  # the vault's own id, as who adds to it was told
            return reference
        return f"{found[1]}/{self.mandate.vault}.{self.local(source_id)}"

    def _patient(self) -> str:
        return f"Patient/{self.mandate.vault}.{self.mandate.patient}"


def _ordered(resource: Resource) -> Resource:
    """resourceType, id and meta first, as people expect them."""
    first = {"resourceType": resource["resourceType"], "id": resource["id"], "meta": resource["meta"]}
    return first | resource


def stamp(resource: Resource, version: int, updated: str) -> bytes:
    """The resource as stored, with the version and time that the ledger gave it."""
    meta = resource["meta"]
    meta["versionId"], meta["lastUpdated"] = str(version), updated
    return dumps(resource)
