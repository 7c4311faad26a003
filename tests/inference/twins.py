"""Two records under one consent: one with everything in it, and one in which what the consent hides never was.

What is hidden the reference evaluator says, not the engine. In the second record there is no other past either: no
older version, nothing deleted, nothing that moved. What refers to something hidden refers to something else, and tells
something else; and who the patient is, is somebody else where that is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from aggregator.consent.decide import Context, Facts, Party, facts_of, openable, parse
from aggregator.consent.grant import Opened
from aggregator.consent.section_table import DIRECTORY
from aggregator.vault import tables
from aggregator.vault import view as views
from aggregator.vault.envelope import Operation
from aggregator.vault.fold import State, fold
from aggregator.vault.image import Image
from aggregator.vault.keys import OWNER
from aggregator.vault.truth import Truth
from aggregator.vault.view import View
from fhir_profiles.profiles import SECTIONS
from fhir_profiles.text import Resource
from tests.consent import decide_world as consents
from tests.consent.decide_reference import outcomes, permitted
from tests.inference.record import CODES, NAMES, TABLE, UPDATED, Ids, Thing
from tests.vault.world import INDEX, START

PRACTICE = Party("praxis")
CONTEXT = Context(PRACTICE, "TREAT", START)
Envelopes = Sequence[tuple[str, list[Operation]]]

OWN = "Patient/own"
"""The record's Patient."""

STRANGER: Resource = {
    "resourceType": "Patient",
    "meta": {"versionId": "1", "lastUpdated": UPDATED},
    "name": [{"family": "Ganz-Anders"}],
    "birthDate": "2001-01-01",
    "gender": "male",
}

_SENSITIVE = [name for name, section in SECTIONS.items() if section.sensitive]


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """The envelopes of both records. names: what the caller may see, "Type/id"."""

    whole: Envelopes
    never: Envelopes
    names: frozenset[str]


def twins(ids: Ids, found: Sequence[Thing], signed: Sequence[Resource]) -> Twins:
    """Of a record under these Consents. Its Patient is in both, as somebody else where nobody may see who it is."""
    shown = _shown(ids, found, list(signed))
    names = frozenset(ids.whole(one.name) for one in shown) | {ids.subject}
    strangers = [replace(one, versions=(STRANGER | {"id": one.newest["id"]},)) for one in found if one.name == OWN]
    others = [_otherwise(one, names) for one in shown] + [
        one for one in strangers if OWN not in {other.name for other in shown}
    ]
    return Twins(
        whole=[envelope for one in found for envelope in one.envelopes(past=True)],
        never=[envelope for one in others for envelope in one.envelopes(past=False)],
        names=names,
    )


def _otherwise(thing: Thing, names: frozenset[str]) -> Thing:
    """The same, but for what it says of what is hidden; as it is where that is what it is decided by."""
    told = _elsewhere(thing.newest, names)
    if told != thing.newest:
        told = _elsewhere(told, names, silent=True)
    other = replace(thing, versions=(*thing.versions[:-1], told))
    return other if _facts(other) == _facts(thing) else thing


def _elsewhere(node: Any, names: frozenset[str], *, silent: bool = False) -> Any:
    """With other targets in the place of those that are not among the names; silent: with other narratives, too."""
    if isinstance(node, dict):
        if _is_reference(node) and node.get("reference") not in names:
            return {"reference": "Device/never", "display": "something else"}
        if silent and "div" in node:
            return node | {"div": '<div xmlns="http://www.w3.org/1999/xhtml">something else</div>'}
        return {name: _elsewhere(child, names, silent=silent) for name, child in node.items()}
    if isinstance(node, list):
        return [_elsewhere(child, names, silent=silent) for child in node]
    return "Device/never" if isinstance(node, str) and _NAMED.fullmatch(node) and node not in names else node


def _is_reference(node: Resource) -> bool:
    return (
        bool(node) and node.keys() <= {"reference", "type", "display"} and not isinstance(node.get("reference"), dict)
    )


_NAMED = re.compile(r"[A-Z][A-Za-z]+/[a-z2-7]{26}\.[a-z2-7]{26}")


def _shown(ids: Ids, found: Sequence[Thing], signed: list[Resource]) -> list[Thing]:
    present = [one for one in found if not one.gone]
    whole = [one for one in present if not _is_part(one) and permitted(signed, CONTEXT, _facts(one))]
    told = [one for one in whole if one.sections[-1] != DIRECTORY]
    directory = {ids.whole(one.name): one for one in whole if one.sections[-1] == DIRECTORY}
    for one in told:  # it grows while it is gone through
        told += [directory.pop(name) for name in {*_references(one.newest)} & directory.keys()]
    return [*told, *(one for one in present if _is_part(one) and _is_told(ids, one, told, signed))]


def _is_part(thing: Thing) -> bool:
    return "securityContext" in thing.newest


def _is_told(ids: Ids, part: Thing, told: Iterable[Thing], signed: list[Resource]) -> bool:
    """A part is shown with its whole, which must point to it, if no consent denies it."""
    context, name = part.newest["securityContext"]["reference"], ids.whole(part.name)
    pointing = (one for one in told if ids.whole(one.name) == context and name in str(one.newest.get("content")))
    return any(pointing) and "deny" not in outcomes(signed, CONTEXT, _facts(part))


def _facts(thing: Thing) -> Facts:
    return replace(facts_of(thing.newest, TABLE.section_of(thing.newest)), section=thing.sections[-1])


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("reference"), str):
            yield node["reference"]
        node = node.values()
    if not isinstance(node, str | int | float):
        for child in node:
            yield from _references(child)


_actor = [consents.actor(PRACTICE.id)]
_codes = st.sampled_from([consents.concept(*code) for some in CODES.values() for code in some])
_spans = st.sampled_from([{"start": "2024-01-01T00:00:00Z"}, {"end": "2025-01-01T00:00:00Z"}])
_MEANS: dict[str, st.SearchStrategy[Any]] = {
    "class": st.one_of(
        st.lists(st.sampled_from([*SECTIONS]), min_size=1, max_size=3, unique=True).map(
            lambda some: consents.section(*some)
        ),
        st.sampled_from([name.partition("/")[0] for name in NAMES]).map(lambda kind: consents.resource_type(kind)),
    ),
    "securityLabel": st.one_of(
        st.sampled_from(["PSY", "HIV", "SUD"]).map(lambda code: consents.sensitivity(code)),
        st.sampled_from(["N", "R", "V"]).map(lambda code: consents.confidentiality(code)),
    ),
    "code": st.lists(_codes, min_size=1, max_size=2),
    "dataPeriod": _spans,
    "period": _spans,
}
"""By what a Consent hides or shows."""


@st.composite
def signed(draw: st.DrawFn, ids: Ids) -> list[Resource]:
    """One or two Consents for the practice: much is permitted, and some of it denied, by any means there is."""
    named = st.sampled_from(NAMES).map(
        lambda name: {"meaning": "instance", "reference": {"reference": ids.whole(name)}}
    )
    means = _MEANS | {"data": st.lists(named, min_size=1, max_size=3)}

    def provision(effect: str) -> Resource:
        chosen = draw(st.lists(st.sampled_from([*means]), min_size=1, max_size=2, unique=True))
        return {"type": effect} | {name: draw(means[name]) for name in chosen}

    opened = draw(st.sampled_from(([], _SENSITIVE, _SENSITIVE[:2], ["results", "problems", "encounters"])))
    if opened is _SENSITIVE or opened == _SENSITIVE[:2]:
        opened = [*SECTIONS.keys() - {*_SENSITIVE}, *opened]
    root: Resource = {"type": "permit", "actor": _actor}
    root |= {"class": consents.section(*sorted(opened))} if opened else {}
    inside = [provision(draw(st.sampled_from(("deny", "deny", "permit")))) for _ in range(draw(st.integers(0, 3)))]
    made = [consents.consent(root | ({"provision": inside} if inside else {}), "c1")]
    if draw(st.booleans()):
        made.append(consents.consent(provision("deny") | {"actor": _actor}, "c2"))
    return made


def view(ids: Ids, envelopes: Envelopes, signed_: Sequence[Resource]) -> View:
    """The practice's view of a record, as an opening builds it, without a store."""
    opened = Opened("grant", 1, {}, signed_, b"", bytes(32), ids.patient)
    reader = opened.reader(PRACTICE, CONTEXT.purpose, CONTEXT.now, TABLE)
    net = openable([parse(one) for one in signed_], PRACTICE, frozenset(SECTIONS), CONTEXT.now)
    state = State()
    for position, (section, operations) in enumerate(envelopes, 1):
        if section in net:
            fold(state, section, position, OWNER, operations)
    state.let_go()
    made = views._data(Truth(tables.Vault(id=ids.vault), state, 0), reader, INDEX, None)
    return View(ids.vault, reader.id, Image.open(made), 1, 1, reader.until, ids.patient)
