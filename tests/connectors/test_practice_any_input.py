"""Whatever a practice's folder holds: valid resources come of it, or it is set aside, and nothing else happens."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import xdt
from connectors.contract import Found
from connectors.practice_ldt_report import Source, report_items
from connectors.practice_ldt_result import LoincMap
from connectors.practice_medication_plan_atc import AtcMap
from connectors.practice_medication_plan_page import merge, read_page
from connectors.practice_medication_plan_resources import plan_items
from connectors.refused import Refused
from fhir_profiles import check
from tests.connectors.practice_ldt.ldt_text import ldt

NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=timezone(timedelta(hours=5, minutes=45)))

FIELDS = """
0201 0203 1250 3000 3100 3101 3102 3103 3104 3110 3112 3113 3114 3119 3120 3564 6303 6329 7278 7279 7273 7292 7302 7304
7305 7306 7316 7317 7363 7364 7371 8310 8311 8401 8410 8411 8418 8419 8420 8421 8422 8424 8428 8429 8430 8431 8460 8461
8462 8520 9970
"""
OBJECTS = """
8110 0010, 8117 0017, 8135 0035, 8137 0037, 8142 0042, 8145 0045, 8147 0047, 8160 0060, 8161 0061, 8167 0068, 8216 0054,
8219 0054, 8225 0054, 8228 0007, 8237 0068, 8242 0068
"""
WORDS = "1 0.40 <5 20260312 081500 UTC+1 mg/dl xyz N 06 2 ä€µ AAEC"
CONTENTS = ["", *WORDS.split(), "a  b", "\xa0"]
Lines = list[str]

LEAVES: st.SearchStrategy[Lines] = st.builds(
    lambda field, content: [f"{field} {content}"], st.sampled_from(FIELDS.split()), st.sampled_from(CONTENTS)
)


def _object(named: str, inner: list[Lines]) -> Lines:
    field, number = named.split()
    own = [line for lines in inner for line in lines]
    return [f"{field} x", f"8002 Obj_{number}", *own, f"8003 Obj_{number}"]


TREES = st.recursive(
    LEAVES, lambda inner: st.builds(_object, st.sampled_from(OBJECTS.split(",")), st.lists(inner, max_size=6))
)
NAMES = "a p f fd m d v h t du dud wo i r x w s ai b c z g egk lanr idf kik n e"
VALUES = "1 0 1/2 0,5 1,25 8 w TAB Tabl # 411 499 ~ a~b ä"
ATTRIBUTES = st.dictionaries(st.sampled_from(NAMES.split()), st.sampled_from([*VALUES.split(), " "]))


def _element(name: str, attributes: dict[str, str], *inner: str) -> str:
    told = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f"<{name}{told}>{''.join(inner)}</{name}>"


def _errors(found: list[Found]) -> list[check.Issue]:
    return [issue for item in found for issue in check.check(item.resource) if issue.severity == "error"]


@settings(max_examples=50)  # the trees are large
@given(trees=st.lists(TREES, max_size=8))
def test_any_record_of_a_report(trees: list[Lines]) -> None:
    person = ["8145 Patient", "8002 Obj_0045", "3119 M310119800", "8003 Obj_0045"]
    record = ["8000 8205", *person, *(line for tree in trees for line in tree), "8001 8205"]
    raw = ldt("\n".join(record))
    file = xdt.parse(raw)
    loinc = LoincMap(system="https://labor.example/tests", meanings={})
    source = Source(name="a.ldt", raw=raw, sha256="0" * 64, fetched_at=NOW, loinc=loinc)
    items = report_items(source, file, file.records[0])
    assert items
    assert _errors([item for item in items if isinstance(item, Found)]) == []


@given(
    observed=ATTRIBUTES,
    author=ATTRIBUTES,
    section=ATTRIBUTES,
    entries=st.lists(st.tuples(st.sampled_from("MRX"), ATTRIBUTES, st.lists(ATTRIBUTES, max_size=2)), max_size=4),
)
def test_any_plan(
    observed: dict[str, str],
    author: dict[str, str],
    section: dict[str, str],
    entries: list[tuple[str, dict[str, str], list[dict[str, str]]]],
) -> None:
    inner = [_element(kind, own, *(_element("W", told) for told in within)) for kind, own, within in entries]
    head = _element("P", {"g": "Jörg", "f": "Grünwald", "b": "19520229"})
    by = _element("A", author | {"t": "2026-03-01T12:00:00"})
    body = head + by + _element("O", observed) + _element("S", section, *inner)
    raw = _element("MP", {"v": "028", "U": "A1"}, body).encode("iso-8859-1")
    found = plan_items(merge([read_page("7_1.xml", raw)]), "7", NOW, AtcMap({}))
    assert _errors(found) == []
    assert len({item.origin.source_id for item in found}) == len(found)


@given(raw=st.binary(max_size=200))
def test_bytes_that_are_no_file_are_refused(raw: bytes) -> None:
    with pytest.raises(Refused):
        xdt.parse(raw)
    with pytest.raises(Refused):
        read_page("7_1.xml", raw)
