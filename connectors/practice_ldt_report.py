"""One LDT 3 report (record 8205) -> Patient, Organization, Specimen, Observation, DiagnosticReport, DocumentReference.

https://hl7.org/fhir/R4/diagnosticreport.html; the objects are those of LDT 3.2.20.

Ids come from the laboratory's own: the report from its report id (7305), a result from the order number (8311), test
code, vessel and place among equals, so that a later report of the same order brings the same result anew. What has no
rule is quarantined by itself, with its own lines.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from connectors.contract import Found, Item, Origin, Reason, Skipped, Subject
from connectors.local_id import local_id, type_and_id
from connectors.practice_ldt_person import laboratory_resource, patient_resource, subject_of
from connectors.practice_ldt_result import LoincMap, Surroundings, observations
from connectors.practice_ldt_values import (
    MEDIA_TYPE,
    REPORT_STATUS,
    UNMAPPED_RESULTS,
    instant,
    moment,
    paragraphs,
    quantity,
)
from connectors.xdt import File, Group
from fhir_profiles.build import Part, codeable, coding, identifier, period, present, reference
from fhir_profiles.codes import DIAGNOSTIC_SERVICE, IDENTIFIER_TYPE, LOINC
from fhir_profiles.text import Resource

_REPORT_CODE = codeable(coding(LOINC, "11502-2", "Laboratory report"), text="Laborbefund")
_CATEGORY = codeable(coding(DIAGNOSTIC_SERVICE, "LAB"))
_LABORATORY_REPORT = "100"  # field 9970
_DOC_STATUS = {"partial": "preliminary", "final": "final"}
_PDF = b"%PDF-"
_ANY_BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The file a report lies in. sha256: the hex digest of raw."""

    name: str
    raw: bytes
    sha256: str
    fetched_at: datetime
    loinc: LoincMap

    def origin(self, source_id: str, line: int) -> Origin:
        """The origin of what begins at this line."""
        return Origin(
            locator=f"{self.name}:{line}", source_id=source_id, fetched_at=self.fetched_at, sha256=self.sha256
        )


def report_items(source: Source, file: File, record: Group) -> list[Item]:
    """All items of this report. One NO_SUBJECT item where it does not say whose it is."""
    patient, subject = record.child("8145"), subject_of_record(record)
    if patient is None or subject is None:
        detail = "The report names neither an insurance number nor a name with a birth date."
        return [skipped_record(source, record, Reason.NO_SUBJECT, detail)]
    return list(_Report(source, file, record, patient, subject).items())


def subject_of_record(record: Group) -> Subject | None:
    """Whose the record is, where it says so."""
    patient = record.child("8145")
    return subject_of(patient) if patient else None


def skipped_record(
    source: Source, record: Group, reason: Reason, detail: str, subject: Subject | None = None
) -> Skipped:
    """A whole record that is quarantined, with its own lines."""
    origin = source.origin(f"record/{local_id(source.name, record.line)}", record.line)
    return Skipped(reason, origin, source.raw[record.start : record.end], detail, subject)


class _Report:
    """One report on the way to its resources."""

    def __init__(self, source: Source, file: File, record: Group, patient: Group, subject: Subject) -> None:
        self._source, self._file, self._record, self._subject = source, file, record, subject
        self._info = record.child("8117") or record
        self._patient, self._patient_warnings = patient_resource(patient, subject)
        self._laboratory = laboratory_resource(file.header)
        self._order = self._order_key()
        self._materials = list(record.within("Obj_0037"))
        self._results = list(record.within("Obj_0060"))
        self._observed = [*self._observations()]

    def _order_key(self) -> tuple[str, str]:
        laboratory = self._laboratory["id"] if self._laboratory else ""
        told = [self._info.value(code) for code in ("8311", "7305", "8310")]
        # Without any number of its own the report is known by its content.
        content = self._source.raw[self._record.start : self._record.end]
        return laboratory, next((number for number in told if number), hashlib.sha256(content).hexdigest())

    def _id(self, kind: str, *parts: str | int) -> str:
        return local_id(kind, *self._order, *parts)

    def items(self) -> Iterator[Item]:
        """Everything, what is referred to before what refers to it."""
        yield self._found(self._patient, self._record.line, self._patient_warnings)
        if self._laboratory:
            yield self._found(self._laboratory, self._file.header.line)
        yield from self._specimens()
        yield from self._observed
        report = self._diagnostic_report()
        yield report
        yield from self._attachments(report.resource)
        yield from self._unmapped()

    def _found(self, resource: Resource, line: int, warnings: tuple[str, ...] = ()) -> Found:
        origin = self._source.origin(type_and_id(resource), line)
        return Found(resource, origin, subject=self._subject, warnings=warnings)

    def _specimens(self) -> Iterator[Found]:
        for material in self._materials:
            resource, warnings = self._specimen(material)
            yield self._found(resource, material.line, warnings)

    def _specimen(self, material: Group) -> tuple[Resource, tuple[str, ...]]:
        amount = next((quantity(run) for run in material.split({"8520"})), None)
        kinds = [coding("", " ".join(told.split())) for told in material.values("8428") if told]
        collection = present(
            collectedDateTime=moment(material.child("8219")),
            quantity=amount[0] if amount else {},
            bodySite=codeable(text=material.value("7292")),
        )
        resource = present(
            resourceType="Specimen",
            id=self._specimen_id(material),
            accessionIdentifier=identifier("", material.value("7364")),
            type=codeable(*kinds, text=material.value("8430")),
            subject=reference(type_and_id(self._patient)),
            receivedTime=moment(material.child("8220")),
            collection=collection,
            note=[{"text": told} for told in (material.value("8431"), paragraphs(material.children("8167"))) if told],
        )
        return resource, (amount[1],) if amount and amount[1] else ()

    def _specimen_id(self, material: Group) -> str:
        # A vessel may hold one material alone, but nothing stops a laboratory from naming two without a vessel.
        return self._id("specimen", material.value("7364"), material.value("8428"), material.value("8429"))

    def _observations(self) -> Iterator[Found]:
        around = Surroundings(
            patient=type_and_id(self._patient),
            laboratory=type_and_id(self._laboratory) if self._laboratory else "",
            specimens={
                material.value("7364"): (f"Specimen/{self._specimen_id(material)}", moment(material.child("8219")))
                for material in self._materials
                if material.value("7364")
            },
            loinc=self._source.loinc,
        )
        seen: Counter[tuple[str, ...]] = Counter()
        for result in self._results:
            key = (result.value("8410"), *sorted(result.values("7364")))
            for observed in observations(result, around):
                local = self._id("observation", *key, seen[key], observed.position)
                resource = {"resourceType": "Observation", "id": local} | observed.resource
                yield self._found(resource, observed.line, observed.warnings)
            seen[key] += 1

    def _diagnostic_report(self) -> Found:
        status = REPORT_STATUS.get(self._info.value("8401"))
        collected = sorted({told for material in self._materials if (told := moment(material.child("8219")))})
        resource = present(
            resourceType="DiagnosticReport",
            id=self._id("report", self._info.value("7305")),
            identifier=self._numbers(),
            status=status or "unknown",
            category=[_CATEGORY],
            code=_REPORT_CODE,
            subject=reference(type_and_id(self._patient)),
            **_effective(collected),
            issued=instant(self._info.child("8216")),
            performer=[reference(type_and_id(self._laboratory))] if self._laboratory else [],
            specimen=[reference(f"Specimen/{self._specimen_id(material)}") for material in self._materials],
            result=[reference(type_and_id(found.resource)) for found in self._observed],
            conclusion=paragraphs([*self._info.children("8247"), *self._info.children("8167")]),
        )
        return self._found(resource, self._record.line, self._warnings(status))

    def _warnings(self, status: str | None) -> tuple[str, ...]:
        wrong = self._file.wrong_lengths
        warnings = ["the status of the order (8401) is missing or unknown"] if status is None else []
        if wrong:
            warnings.append(f"{len(wrong)} lines of the file tell a wrong length, the first is line {wrong[0]}")
        return tuple(warnings)

    def _numbers(self) -> list[Part]:
        typed = {"8311": "FILL", "8310": "PLAC"}
        numbers = [identifier("", told) for told in self._info.values("7305") if told]
        for code, kind in typed.items():
            role = codeable(coding(IDENTIFIER_TYPE, kind))
            numbers += [identifier("", told, kind=role) for told in self._info.values(code) if told]
        return numbers

    def _attachments(self, report: Resource) -> Iterator[Item]:
        for position, attachment in enumerate(self._record.within("Obj_0010")):
            local = self._id("attachment", self._info.value("7305"), position)
            content = "".join(part for text in attachment.children("8242") for part in text.values("6329"))
            try:
                data = base64.b64decode(content, validate=True)
            except (binascii.Error, ValueError):
                data = b""
            if data:
                yield self._document(local, attachment, content, data, report)
            else:
                yield self._skipped(Reason.UNREADABLE, attachment, "The attachment is empty or no base64.")

    def _document(self, local: str, attachment: Group, content: str, data: bytes, report: Resource) -> Found:
        media_type = _media_type(attachment.value("6303"), data)
        title = attachment.value("6305")
        own = present(contentType=media_type, data=content, size=len(data), title=title)
        resource = present(
            resourceType="DocumentReference",
            id=local,
            status="current",
            docStatus=_DOC_STATUS.get(report["status"], ""),
            type=_REPORT_CODE if attachment.value("9970") == _LABORATORY_REPORT else {},
            subject=reference(type_and_id(self._patient)),
            date=report.get("issued", ""),
            author=[reference(type_and_id(self._laboratory))] if self._laboratory else [],
            description=attachment.value("6327"),
            content=[{"attachment": own}],
            context=present(event=self._shown(), related=[reference(type_and_id(report))]),
        )
        unknown = "the file format of an attachment (6303) is missing or unknown"
        return self._found(resource, attachment.line, (unknown,) if media_type == _ANY_BYTES else ())

    def _shown(self) -> list[Part]:
        """What a document of the report shows, for its bytes cannot tell: every test, what has no rule by its name."""
        tested = [found.resource["code"] for found in self._observed]
        unmapped = [codeable(text=UNMAPPED_RESULTS[group.name]) for group in self._record.within(*UNMAPPED_RESULTS)]
        shown = tested + unmapped
        return [code for position, code in enumerate(shown) if code not in shown[:position]]

    def _unmapped(self) -> Iterator[Skipped]:
        for group in self._record.within(*UNMAPPED_RESULTS):
            detail = f"There is no rule yet for {UNMAPPED_RESULTS[group.name]} in a report."
            yield self._skipped(Reason.UNKNOWN_CODE, group, detail)

    def _skipped(self, reason: Reason, group: Group, detail: str) -> Skipped:
        own = self._source.raw[group.start : group.end]
        source_id = f"{group.name}/{self._id('skipped', group.name, hashlib.sha256(own).hexdigest())}"
        origin = self._source.origin(source_id, group.line)
        return Skipped(reason, origin, own, detail, subject=self._subject)


def _effective(collected: list[str]) -> Part:
    if len(collected) == 1:
        return {"effectiveDateTime": collected[0]}
    return {"effectivePeriod": period(collected[0], collected[-1])} if collected else {}


def _media_type(told: str, data: bytes) -> str:
    known = MEDIA_TYPE.get(told.strip(" .").lower(), "")
    return known or ("application/pdf" if data.startswith(_PDF) else _ANY_BYTES)
