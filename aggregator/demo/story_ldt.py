"""A practice's laboratory reports about a person as LDT 3 files (KBV data set description LDT 3.2.20).

https://update.kbv.de/ita-update/Labor/Labordatenkommunikation/ is where the description is published. A line is three
digits of length (content bytes + 9), four digits of field, content, CR LF, in ISO-8859-15; objects open with 8002 and
close with 8003; 9300 is the SHA-1 over all bytes before its line.
"""

from __future__ import annotations

import base64
import hashlib
import textwrap
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from aggregator.demo.story_pdf import pdf
from aggregator.demo.story_people import Person, Practice, facts, people, person_of, practices, term, wall
from aggregator.demo.story_values import flag

Line = tuple[str, str]
Row = Mapping[str, Any]

_CHARSET = "iso-8859-15"
_GENDER = MappingProxyType({"female": "W", "male": "M"})
_CONVENTIONAL_UNITS = "1"
_COMPLETE = "2"  # the report is the final one


def lab_reports(person: Person, practice: Practice) -> list[tuple[str, bytes]]:
    """(file name, content) of the person's reports in that practice's laboratory folder, oldest first."""
    rows = facts(person.id, practice.id)["lab"]
    return [(_file_name(row), _report(person, practice, row)) for row in rows]


def broken_lab_report() -> tuple[str, bytes]:
    """A report of the first person whose checksum (FK 9300) is not the file's, as after a broken transfer."""
    person, practice = people()[0], practices()[0]
    row = facts("faults")["broken_lab_report"]
    body = _body(person, practice, row)
    return _file_name(row), _closed(body, _checksum(body)[::-1])


def stranger_lab_report() -> tuple[str, bytes]:
    """A sound report about somebody who is no patient of the demo."""
    row = facts("faults")["stranger_lab_report"]
    return _file_name(row), _report(person_of("fremd", row["person"]), practices()[0], row)


def _file_name(row: Row) -> str:
    return f"{row['order']}.ldt"


def _report(person: Person, practice: Practice, row: Row) -> bytes:
    body = _body(person, practice, row)
    return _closed(body, _checksum(body))


def _body(person: Person, practice: Practice, row: Row) -> bytes:
    """All that the checksum covers."""
    lines = [
        *_header(practice, row),
        ("8000", "8205"),
        *_sender(practice),
        *_subject(person, practice),
        *_information(row),
        *_material(row),
        *_results(person, practice, row),
        *_pdf_lines(row),
        ("8001", "8205"),
        ("8000", "8221"),
    ]
    return b"".join(map(_line, lines))


def _checksum(body: bytes) -> str:
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()


def _closed(body: bytes, checksum: str) -> bytes:
    return body + _line(("9300", checksum)) + _line(("8001", "8221"))


def _line(line: Line) -> bytes:
    field, content = line
    encoded = content.encode(_CHARSET)
    return b"%03d" % (len(encoded) + 9) + field.encode("ascii") + encoded + b"\r\n"


def _object(number: str, *lines: Line, opened_by: Line | None = None) -> list[Line]:
    name = f"Obj_{number}"
    return [*([opened_by] if opened_by else []), ("8002", name), *lines, ("8003", name)]


def _timestamp(field: str, name: str, at: datetime) -> list[Line]:
    offset = int((at.utcoffset() or at - at).total_seconds()) // 3600
    when = (("7278", f"{at:%Y%m%d}"), ("7279", f"{at:%H%M%S}"), ("7273", f"UTC+{offset}"))
    return _object("0054", *when, opened_by=(field, name))


def _header(practice: Practice, row: Row) -> list[Line]:
    laboratory = _object(
        "0036",
        ("8239", "Laborbezeichnung"),
        *_object("0043", ("1250", practice.laboratory)),
        ("8119", "Betriebsstaette"),
        *_object("0019", ("0204", "2"), ("0203", practice.laboratory), ("0201", practice.laboratory_bsnr)),
        opened_by=("8136", "Laborkennung"),
    )
    system = _object("0051", ("0103", "LaborLinie"), ("0132", "7.2.0"))
    made = _timestamp("8218", "Timestamp_Erstellung_Datensatz", wall(row["reported"]))
    head = [("0001", "LDT3.2.20"), ("8151", "Sendendes_System"), *system, *made]
    return [
        ("8000", "8220"),
        *_object("0032", *head, opened_by=("8132", "Kopfdaten")),
        *laboratory,
        ("8001", "8220"),
    ]


def _sender(practice: Practice) -> list[Line]:
    doctor = [("7420", "02"), ("3101", practice.family), ("3102", practice.given)]
    identified = _object(
        "0014",
        ("8147", "Person"),
        *_object("0047", *doctor),
        ("0212", practice.lanr),
        opened_by=("8114", "Arztidentifikation"),
    )
    place = [("0204", "1"), ("0203", practice.name), ("0201", practice.bsnr)]
    where = _object("0019", *place, opened_by=("8119", "Betriebsstaette"))
    return _object("0022", ("7321", "01"), *identified, *where, opened_by=("8122", "Einsenderidentifikation"))


def _subject(person: Person, practice: Practice) -> list[Line]:
    home = _object(
        "0007",
        ("3112", person.postal_code),
        ("3113", person.city),
        ("3107", person.street),
        ("3114", "D"),
        opened_by=("8228", "Wohnanschrift"),
    )
    who = [
        ("7420", "12"),
        ("3101", person.family),
        ("3102", person.given),
        ("3103", f"{person.birth_date:%Y%m%d}"),
        ("3110", _GENDER[person.gender]),
        *home,
    ]
    named = _object("0047", *who, opened_by=("8147", "Person"))
    numbers = [("3119", person.kvnr), ("3000", person.patient_numbers[practice.id])]
    return _object("0045", *named, *numbers, opened_by=("8145", "Patient"))


def _information(row: Row) -> list[Line]:
    taken = [("8310", row["order"]), *_timestamp("8214", "Timestamp_Auftragserteilung", wall(row["taken"]))]
    reported = _timestamp("8216", "Timestamp_Befunderstellung", wall(row["reported"]))
    known = [("8311", f"B{row['order']}"), ("7305", f"{row['order']}-1"), ("8401", _COMPLETE)]
    return _object("0017", *taken, *known, *reported, opened_by=("8117", "Befundinformationen"))


def _material(row: Row) -> list[Line]:
    taken = _timestamp("8219", "Timestamp_Materialabnahme_entnahme", wall(row["taken"]))
    known = [("7364", f"{row['order']}01"), ("8429", "01"), ("8428", row["material"][:2].upper())]
    return _object("0037", *known, ("8430", row["material"]), *taken, opened_by=("8137", "Material"))


def _results(person: Person, practice: Practice, row: Row) -> list[Line]:
    results = [line for result in row["results"] for line in _result(person, practice, row, result)]
    made = _timestamp("8221", "Timestamp_Erstellung_Laborergebnisbericht", wall(row["reported"]))
    return _object("0035", *results, *made, opened_by=("8135", "Laborergebnisbericht"))


def _result(person: Person, practice: Practice, row: Row, result: str) -> list[Line]:
    test, _, value = result.partition(" ")
    known = _known(test, person.gender)
    signed = _object("0041", ("7420", "07"), ("7358", practice.laboratory_doctor), opened_by=("8141", "Namenskennung"))
    return _object(
        "0060",
        ("7304", f"{row['order']}-{test}"),
        ("7364", f"{row['order']}01"),
        ("8410", test),
        ("8411", known["name"]),
        ("8418", "06"),
        ("7306", "01"),
        ("8420", value),
        *_judged(known, value),
        *_timestamp("8225", "Timestamp_Messung", wall(row["reported"])),
        *signed,
        opened_by=("8160", "UE_Klinische_Chemie"),
    )


def _known(test: str, gender: str) -> Row:
    """The laboratory's entry for a test, with the range for that gender where it differs."""
    row = term("test", test)
    return {**row, **row.get(gender, {})}


def _judged(known: Row, value: str) -> Iterator[Line]:
    """The unit and, where the laboratory gives one, the range with its flag."""
    if "unit" not in known:
        return
    unit = (("8419", _CONVENTIONAL_UNITS), ("8421", known["unit"]))
    yield from unit
    found = flag(known, value)
    if found:
        limits = [(field, known[end]) for field, end in (("8461", "low"), ("8462", "high")) if end in known]
        ends = [line for limit in limits for line in (limit, *unit)]
        yield from _object("0042", ("8424", "20"), *ends, ("8422", found), opened_by=("8142", "Normalwert"))


def _pdf_lines(row: Row) -> list[Line]:
    if "pdf" not in row:
        return []
    encoded = base64.b64encode(pdf(row["pdf"])).decode("ascii")
    chunks = [("6329", chunk) for chunk in textwrap.wrap(encoded, 60)]
    attached = _object("0068", *chunks, opened_by=("8242", "base64-kodierte_Anlage"))
    return _object("0010", ("9970", "100"), *attached, opened_by=("8110", "Anhang"))
