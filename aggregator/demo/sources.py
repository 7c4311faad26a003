"""The sources of the demo world: a hospital and an insurer that serve FHIR on loopback, and two practices' folders.

The folders belong to the practices and lie in HOME/sources. What goes wrong on purpose: a page of the hospital answers
503 once, one resource of each patient fails its check, and the first practice's laboratory folder holds a broken file
and a report about a person who is no patient here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path

from aggregator.demo.clinic import Clinic
from aggregator.demo.faults import Fault, Faulty, status
from aggregator.demo.fhir_server.server import FhirServer
from aggregator.demo.insurer import Insurer
from aggregator.demo.server import serve
from aggregator.demo.settings import SourceRow
from aggregator.demo.story import (
    ATC_MAP,
    LOINC_MAP,
    Practice,
    broken_lab_report,
    clinic_bundle,
    insurer_bundle,
    lab_reports,
    medication_plans,
    people,
    practices,
    stranger_lab_report,
)
from aggregator.demo.story_people import WALL_CLOCK, facts, wall
from connectors.contract import Clock

CLINIC = "klinik-nord"
INSURER = "nordlicht"
_INSURER_TITLE = "Nordlicht Krankenkasse"
_TEST_CODES = "https://labor.example/tests"
_BUSY_ONCE = Fault(path=r"/fhir/Condition\?", act=status(503, retry_after=0))


def laboratory(practice: Practice) -> str:
    """The authority of a practice's laboratory folder: a feed."""
    return f"{practice.id}-labor"


def plans(practice: Practice) -> str:
    """The authority of a practice's folder of medication plans."""
    return f"{practice.id}-plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The sources, loaded; `serving` gives them their addresses."""

    clinic: Clinic
    insurer: Insurer
    folder: Path

    @classmethod
    def load(cls, folder: Path, clock: Clock) -> Sources:
        """Fill the servers and the folders with the stories; the clinic may be given more before it serves."""
        made = cls(clinic=Clinic(clock), insurer=Insurer(clock, title=_INSURER_TITLE), folder=folder)
        for person in people():
            made.clinic.load(clinic_bundle(person), person.id)
            made.insurer.load(insurer_bundle(person), person.id)
        for practice in practices():
            _fill_laboratory(made.laboratory_folder(practice), practice)
            _fill_plans(made.plan_folder(practice), practice)
        return made

    @property
    def servers(self) -> Mapping[str, FhirServer]:
        """Authority -> FHIR server."""
        return {CLINIC: self.clinic, INSURER: self.insurer}

    def laboratory_folder(self, practice: Practice) -> Path:
        return self.folder / practice.id / "labor"

    def plan_folder(self, practice: Practice) -> Path:
        return self.folder / practice.id / "plan"

    @contextmanager
    def serving(self) -> Iterator[list[SourceRow]]:
        """Serve until the end of the context: the rows of the configuration that lead there."""
        with ExitStack() as stack:
            clinic = stack.enter_context(serve(Faulty(self.clinic.app(), [_BUSY_ONCE])))
            insurer = stack.enter_context(serve(self.insurer.app()))
            yield [
                _row(CLINIC, "clinic_fhir", "Klinik Nord", base_url=f"{clinic.url}/fhir"),
                _row(INSURER, "insurer_fhir", _INSURER_TITLE, base_url=f"{insurer.url}/fhir"),
                *(row for practice in practices() for row in self._folder_rows(practice)),
            ]

    def _folder_rows(self, practice: Practice) -> Iterator[SourceRow]:
        reports, planned = self.laboratory_folder(practice), self.plan_folder(practice)
        told: dict[str, str | Path] = {"folder": reports, "authority_system": _TEST_CODES, "loinc_map": LOINC_MAP}
        yield _row(laboratory(practice), "practice_ldt", f"{practice.name}: Labor", **told)
        yield _row(
            plans(practice),
            "practice_medication_plan",
            f"{practice.name}: Medikationsplan",
            folder=planned,
            atc_map=ATC_MAP,
        )


def _row(authority: str, connector: str, title: str, **settings: str | Path) -> SourceRow:
    return SourceRow(authority=authority, connector=connector, title=title, settings=settings)


def _fill_laboratory(folder: Path, practice: Practice) -> None:
    for person in people():
        rows = facts(person.id, practice.id)["lab"]
        for (name, content), row in zip(lab_reports(person, practice), rows, strict=True):
            _write(folder / name, content, wall(row["reported"]))
    if practice == practices()[0]:
        wrong = facts("faults")
        for kind, (name, content) in (
            ("broken_lab_report", broken_lab_report()),
            ("stranger_lab_report", stranger_lab_report()),
        ):
            _write(folder / name, content, wall(wrong[kind]["reported"]))


def _fill_plans(folder: Path, practice: Practice) -> None:
    for person in people():
        for name, content in medication_plans(person, practice):
            day = date.fromisoformat(name.split("_")[1])
            _write(folder / name, content, datetime.combine(day, time(12), WALL_CLOCK))


def _write(file: Path, content: bytes, at: datetime) -> None:
    """Dated as the practice wrote it: a younger file would still count as growing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (at.timestamp(), at.timestamp()))
