"""The XML of the German medication plan (BMP, versions 2.4 to 2.8): pages, and the plan they make together.

https://update.kbv.de/ita-update/Verordnungen/Arzneimittel/BMP (annex 3 to the agreement under section 31a SGB V)

The XML is the content of the plan's bar codes: one-letter names, ISO-8859-1, as a rule without a declaration that says
so. A plan is printed on up to three pages with a code each; `U`, new at every print, is the same on all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from lxml import etree

from connectors.contract import Reason
from connectors.refused import Refused

VERSIONS = frozenset({"024", "025", "026", "027", "028"})
# The format tells no zone because it knows one country only.
_GERMAN_TIME = ZoneInfo("Europe/Berlin")
_PRINTED = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}")
_BEFORE_XML = b"MP^"  # how versions 2.0 and older began
_NO_CHARACTER = re.compile(rb"[\x80-\x9f]")  # holes of ISO-8859-1
_LINE_BREAK = "~"
_MOST_PAGES = 9

Attributes = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page. number of pages, both from 1; plan_id is `U`."""

    plan_id: str
    number: int
    pages: int
    name: str
    raw: bytes
    root: etree._Element


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A medication (M), recipe (R) or free text (X) of the plan. ingredients: name and strength of each W."""

    kind: str
    section: Attributes
    own: Attributes
    ingredients: tuple[Attributes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole plan.

    printed: its moment as told, German local time, which orders plans. moment: the same with its offset.
    patient, author, observed: the attributes of P, A, O. names, raw: the files' names and bytes, page by page.
    """

    plan_id: str
    printed: str
    moment: str
    patient: Attributes
    author: Attributes
    observed: Attributes
    entries: tuple[Entry, ...]
    names: tuple[str, ...]
    raw: bytes


def lines(told: str | None) -> str:
    """A text with the plan's sign for a line break made one."""
    return (told or "").replace(_LINE_BREAK, "\n").strip()


def read_page(name: str, raw: bytes) -> Page:
    """Read one page. Raises Refused: VERSION, UNDECODABLE or UNREADABLE."""
    root = _parse(raw)
    version, plan_id = root.get("v", ""), root.get("U", "")
    if version not in VERSIONS:
        raise Refused(Reason.VERSION, "the plan's version is none from 2.4 to 2.8")
    number, pages = _count(root.get("a")), _count(root.get("z"))
    if not plan_id or not 1 <= number <= pages <= _MOST_PAGES:
        raise Refused(Reason.UNREADABLE, "the page does not say which page of which plan it is")
    return Page(plan_id=plan_id, number=number, pages=pages, name=name, raw=raw, root=root)


def _count(told: str | None) -> int:
    if told is None:  # a plan of one page leaves both numbers out
        return 1
    return int(told) if told.isascii() and told.isdigit() else 0


def _parse(raw: bytes) -> etree._Element:
    if raw.lstrip().startswith(_BEFORE_XML):
        raise Refused(Reason.VERSION, "the plan is of a version before 2.1")
    declared = raw.startswith(b"<?xml") and b"encoding" in raw.partition(b"?>")[0]
    if not declared and _NO_CHARACTER.search(raw):
        raise Refused(Reason.UNDECODABLE, "the page holds a byte that is no character of ISO-8859-1")
    parser = etree.XMLParser(
        encoding=None if declared else "iso-8859-1",
        resolve_entities=False,
        no_network=True,
        huge_tree=False,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(raw, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError):
        raise Refused(Reason.UNREADABLE, "the page is no well-formed XML") from None
    dtd = root.getroottree().docinfo.internalDTD
    # A DOCTYPE that only names MP is common; one that defines entities has no business here.
    if root.tag != "MP" or (dtd is not None and any(dtd.iterentities())):  # type: ignore[union-attr]  # not in the stubs
        raise Refused(Reason.UNREADABLE, "the page is no medication plan")
    return root


def missing_pages(pages: Iterable[Page]) -> bool:
    """Whether a page of this plan has not come yet."""
    found = list(pages)
    return len({page.number for page in found}) < found[0].pages


def merge(pages: Iterable[Page]) -> Plan:
    """The plan that these pages, all of one `U` and none missing, make. Raises Refused: UNREADABLE or NO_SUBJECT."""
    ordered = sorted(pages, key=lambda page: (page.number, page.name))
    distinct = [page for page, before in zip(ordered, [None, *ordered], strict=False) if not _same(page, before)]
    if [page.number for page in distinct] != list(range(1, ordered[0].pages + 1)):
        raise Refused(Reason.UNREADABLE, "two different pages bear the same number")
    if len({(page.pages, *_attributes(page.root, "P").items()) for page in distinct}) > 1:
        raise Refused(Reason.UNREADABLE, "the pages of the plan contradict each other")
    return _plan(distinct)


def _same(page: Page, before: Page | None) -> bool:
    return before is not None and (page.number, page.raw) == (before.number, before.raw)


def _plan(pages: list[Page]) -> Plan:
    first = pages[0].root
    author = _attributes(first, "A")
    printed = author.get("t", "")
    return Plan(
        plan_id=pages[0].plan_id,
        printed=printed,
        moment=_moment(printed),
        patient=_attributes(first, "P"),
        author=author,
        observed=_attributes(first, "O"),
        entries=tuple(entry for page in pages for entry in _entries(page.root)),
        names=tuple(page.name for page in pages),
        raw=b"\n".join(page.raw for page in pages),
    )


def _attributes(root: etree._Element, name: str) -> dict[str, str]:
    found = root.find(name)
    return {} if found is None else _own(found)


def _own(element: etree._Element) -> dict[str, str]:
    """The attributes that say something; a lone line break does not."""
    return {str(name): str(value).strip() for name, value in element.attrib.items() if lines(str(value))}


def _moment(printed: str) -> str:
    try:
        told = datetime.fromisoformat(printed) if _PRINTED.fullmatch(printed) else None
    except ValueError:
        told = None
    if told is None:
        raise Refused(Reason.UNREADABLE, "the plan does not say when it was printed")
    return told.replace(tzinfo=_GERMAN_TIME).isoformat()


def _entries(root: etree._Element) -> Iterator[Entry]:
    for section in root.iterchildren("S"):
        for element in section.iterchildren("M", "R", "X"):
            yield Entry(
                kind=str(element.tag),
                section=_own(section),
                own=_own(element),
                ingredients=tuple(_own(ingredient) for ingredient in element.iterchildren("W")),
            )
