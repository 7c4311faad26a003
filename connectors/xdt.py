"""xDT, the line format of German practice software, as LDT 3 uses it: lines, checksum, records and objects.

A line is three digits length, four digits field, content, CR LF; the length counts the content's bytes and nine more.
A record opens with field 8000 and closes with 8001, an object with 8002 and 8003; an object belongs to the field that
stands right before it. The trailer's field 9300 is the SHA-1 over every byte before its line. The character set is
ISO-8859-15, in which the control characters have no meaning.

https://update.kbv.de/ita-update/Labor/Labordatenkommunikation/ (LDT 3.2.20)

Nothing here knows what a field means, beyond the ones that make the structure.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from connectors.contract import Reason
from connectors.refused import Refused

_LINE = re.compile(rb"(\d{3})(\d{4})(.*)", re.DOTALL)
# What ISO-8859-15 leaves without a meaning; a tab does no harm, and laboratories send it.
_UNDECODABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_VERSION = re.compile(rb"\d{3}(?:0001|9212)(LDT\d[\d.]*)")
_LENGTH_BEYOND_CONTENT = 9  # three digits length, four digits field, CR, LF
_DEEPEST = 32  # the specification's objects nest about eight levels
_TRAILER_OF = {"8220": "8221", "8230": "8231"}  # the laboratory's packet, the practice's packet
RECORD, RECORD_END, OBJECT, OBJECT_END, CHECKSUM = "8000", "8001", "8002", "8003", "9300"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line. number counts from 1; end is the offset behind its CR LF."""

    number: int
    code: str
    value: str
    start: int
    end: int
    length_is_right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a record or object, with the object that belongs to it, if one follows."""

    code: str
    value: str
    line: int
    child: Group | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A record ("8205") or an object ("Obj_0045"): its fields in the order they came.

    line: where it begins. start, end: its bytes in the file.
    """

    name: str
    fields: tuple[Field, ...]
    line: int
    start: int
    end: int

    def values(self, code: str) -> list[str]:
        """The contents of this group's own fields of that code, without those of objects below."""
        return [field.value for field in self.fields if field.code == code]

    def value(self, code: str) -> str:
        """The first of them, or an empty text."""
        return next(iter(self.values(code)), "")

    def children(self, code: str) -> list[Group]:
        """The objects that belong to this group's fields of that code."""
        return [field.child for field in self.fields if field.code == code and field.child is not None]

    def child(self, code: str) -> Group | None:
        """The first of them."""
        return next(iter(self.children(code)), None)

    def within(self, *names: str) -> Iterator[Group]:
        """All objects of these names below this group, in the order they came."""
        for field in self.fields:
            if field.child is not None:
                if field.child.name in names:
                    yield field.child
                yield from field.child.within(*names)

    def split(self, heads: Collection[str]) -> list[tuple[Field, ...]]:
        """The own fields in runs, each beginning with a field of `heads`; what stands before the first is left out.

        xDT hangs a field's details behind it without a bracket: a value, then its unit, then its limits.
        """
        starts = [index for index, field in enumerate(self.fields) if field.code in heads]
        return [self.fields[start:end] for start, end in zip(starts, [*starts[1:], None], strict=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A whole file: its records between header and trailer, and the numbers of the lines whose length is wrong."""

    header: Group
    records: tuple[Group, ...]
    wrong_lengths: tuple[int, ...]


def version(raw: bytes) -> str:
    """The version the file names ("LDT3.2.20", "LDT1014.01"), or an empty text where it names none."""
    found = _VERSION.search(raw, 0, 4096)
    return found[1].decode("ascii") if found else ""


def parse(raw: bytes) -> File:
    """Read the whole file. Raises Refused: UNREADABLE, UNDECODABLE, TRUNCATED or CHECKSUM."""
    lines = _lines(raw)
    header, *records = _records(lines)
    trailer = _TRAILER_OF.get(header.name)
    if trailer is None:
        raise Refused(Reason.UNREADABLE, f"line {header.line}: the file does not begin with a header record")
    if not records or records[-1].name != trailer:
        raise Refused(Reason.TRUNCATED, "the file ends without its trailer record")
    _check_sum(raw, lines)
    wrong = tuple(line.number for line in lines if not line.length_is_right)
    return File(header=header, records=tuple(records[:-1]), wrong_lengths=wrong)


def _lines(raw: bytes) -> list[Line]:
    pieces = raw.split(b"\r\n")
    if len(pieces) == 1:
        raise Refused(Reason.UNREADABLE, "no line ends with CR LF")
    ended = pieces.pop() == b""
    start, lines = 0, []
    for number, piece in enumerate(pieces, 1):
        lines.append(_line(number, piece, start))
        start += len(piece) + 2
    if not ended:
        raise Refused(Reason.TRUNCATED, f"line {len(pieces) + 1} has no end")
    return lines


def _line(number: int, piece: bytes, start: int) -> Line:
    found = _LINE.fullmatch(piece)
    if found is None:
        raise Refused(Reason.UNREADABLE, f"line {number} does not begin with a length and a field")
    length, code, content = found.groups()
    if _UNDECODABLE.search(content):
        raise Refused(Reason.UNDECODABLE, f"line {number} holds a byte that is no character of ISO-8859-15")
    return Line(
        number=number,
        code=code.decode("ascii"),
        value=content.decode("iso-8859-15").strip(),
        start=start,
        end=start + len(piece) + 2,
        length_is_right=int(length) == len(content) + _LENGTH_BEYOND_CONTENT,
    )


def _check_sum(raw: bytes, lines: list[Line]) -> None:
    told = next((line for line in reversed(lines) if line.code == CHECKSUM), None)
    if told is None:
        raise Refused(Reason.CHECKSUM, "the trailer holds no checksum (field 9300)")
    # SHA-1 because the format says so: it finds transmission errors, it proves nothing about the sender.
    if hashlib.sha1(raw[: told.start], usedforsecurity=False).hexdigest() != told.value.lower():
        raise Refused(Reason.CHECKSUM, f"line {told.number}: the checksum is not the one of this file")


def _records(lines: list[Line]) -> list[Group]:
    records, rest = [], iter(lines)
    for line in rest:
        if line.code != RECORD:
            raise Refused(Reason.UNREADABLE, f"line {line.number} stands outside of every record")
        records.append(_group(line, rest, RECORD_END, _DEEPEST))
    if not records:
        raise Refused(Reason.UNREADABLE, "the file holds no record")
    return records


def _group(opening: Line, rest: Iterator[Line], closing: str, depth: int) -> Group:
    fields: list[Field] = []
    for line in rest:
        if line.code == closing:
            return _closed(opening, line, fields)
        if line.code in (RECORD, RECORD_END, OBJECT_END):
            raise Refused(Reason.UNREADABLE, f"line {line.number} closes or opens what it may not")
        if line.code == OBJECT:
            _hang(fields, line, rest, depth)
        else:
            fields.append(Field(code=line.code, value=line.value, line=line.number))
    raise Refused(Reason.TRUNCATED, f"what line {opening.number} opens is never closed")


def _hang(fields: list[Field], opening: Line, rest: Iterator[Line], depth: int) -> None:
    """Read the object that begins here and hang it on the last field."""
    if not fields or fields[-1].child is not None or not depth:
        raise Refused(Reason.UNREADABLE, f"line {opening.number} opens an object that belongs to no field")
    fields[-1] = dataclasses.replace(fields[-1], child=_group(opening, rest, OBJECT_END, depth - 1))


def _closed(opening: Line, closing: Line, fields: list[Field]) -> Group:
    if opening.value != closing.value:
        raise Refused(
            Reason.UNREADABLE, f"line {closing.number} closes something else than line {opening.number} opens"
        )
    return Group(name=opening.value, fields=tuple(fields), line=opening.number, start=opening.start, end=closing.end)
