"""What holds for every policy: order never matters, a deny never widens, and a naive evaluator says the same.

AGGREGATOR_POLICIES says for how many the evaluators are compared, on 20 resources each (`make policies`: 100,000
pairs); without it for few, for the sake of time.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aggregator.consent.decide import Context, Decider, Facts, Permit, boundaries, decide, openable, parse
from fhir_profiles import codes
from fhir_profiles.profiles import SECTIONS
from fhir_profiles.text import Resource
from tests.consent import decide_world as world
from tests.consent.decide_reference import permitted
from tests.weaken import weakens

pytestmark = pytest.mark.storeless

ABOUT: list[Facts] = [
    world.facts(one)
    for one in (
        world.GLUCOSE,
        world.DEPRESSION,
        world.HYPERTENSION,
        world.SERTRALINE,
        world.CLAIM,
        world.PATIENT,
        world.PRACTICE,
        world.HIV,
        world.ALCOHOL_AND_DEPRESSION,
        world.PRIVATE_RESULT,
        world.resource("Binary"),
    )
]
POLICIES = int(os.environ.get("AGGREGATOR_POLICIES", "250"))
PROVIDER, PAYER = (codes.PARTY_CLASS, "provider"), (codes.PARTY_CLASS, "payer")
PARTIES = [
    *[dataclasses.replace(world.DR_B, identifiers=world.DR_B.identifiers | {PROVIDER})] * 2,
    dataclasses.replace(world.INSURER, identifiers=world.INSURER.identifiers | {PAYER}),
    world.DR_C,
]
_ALL = world.consent(world.permit(class_=world.section(*SECTIONS)))
_DR_B = Context(world.DR_B, "TREAT", world.NOW)
PURPOSES = ["TREAT", "TREAT", "TREAT", "HPAYMT", "ETREAT", "BTG", "HMARKT"]

_untimed = settings(deadline=None)  # the machine may be busy

_instants = st.sampled_from(["2019-06-01T00:00:00+02:00", "2024-06-01T00:00:00Z", "2026-11-21T03:45:00+00:00"])
_periods = st.one_of(
    st.builds(lambda at: {"start": at}, _instants),
    st.builds(lambda at: {"end": at}, _instants),
    st.just({"start": "2020-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z"}),
)
_named = st.builds(
    world.actor,
    st.sampled_from(["praxis-b"] * 4 + ["kasse"] * 3 + ["praxis-c"]),
    st.sampled_from(["PRCP"] * 19 + ["CST"]),
)
_of_a_class = st.sampled_from([PROVIDER, PAYER]).map(
    lambda found: world.actor() | {"reference": {"identifier": {"system": found[0], "value": found[1]}}}
)
_actors = st.lists(st.one_of(_named, _named, _of_a_class), min_size=1, max_size=3)


def _some(make: Any, *names: str) -> st.SearchStrategy[list[Resource]]:
    return st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True).map(lambda chosen: make(*chosen))


_everything = st.just(world.section(*SECTIONS))
_classes = st.one_of(
    _everything,
    _everything,
    _some(world.section, "results", "problems", "medications", "mental-health", "insurance", "substance-use"),
    _some(world.resource_type, "Observation", "Condition", "MedicationRequest", "Organization"),
    st.just(world.section("results", "feelings")),
)
_codes = st.lists(
    st.sampled_from(
        [
            world.concept(codes.ICD_10_GM, "F32"),
            world.concept(codes.ICD_10_GM, "I10"),
            world.concept(codes.LOINC, "2339-0"),
            {"text": "only text"},
        ]
    ),
    min_size=1,
    max_size=2,
)
_labels = st.one_of(_some(world.sensitivity, "PSY", "HIV", "SUD", "SEX"), _some(world.confidentiality, "N", "R", "V"))
_data = st.lists(
    st.builds(
        lambda name: {"meaning": "instance", "reference": {"reference": name}},
        st.sampled_from(["Observation/r1", "Condition/r1", "Observation/another"]),
    ),
    min_size=1,
    max_size=2,
)
_criteria: dict[str, st.SearchStrategy[Any]] = {
    "purpose": _some(world.purpose, "TREAT", "BTG", "HMARKT", "ETREAT", "WHIM"),
    "class": _classes,
    "code": _codes,
    "securityLabel": _labels,
    "data": _data,
    "period": _periods,
    "dataPeriod": _periods,
    "action": _some(world.action, "access", "use", "collect"),
    "modifierExtension": st.just([{"url": "https://example.org/not"}]),
}


_rare = st.sampled_from(["class"] * 12 + [name for name in _criteria if name != "modifierExtension"] * 3 + [*_criteria])


def _provisions(depth: int, types: tuple[str, ...] = ("permit", "deny")) -> st.SearchStrategy[Resource]:
    @st.composite
    def draw_one(draw: st.DrawFn) -> Resource:
        made: Resource = {"type": draw(st.sampled_from(types))}
        if draw(st.integers(0, 3)) == 0:
            made["actor"] = draw(_actors)
        for name in draw(st.lists(_rare, max_size=2, unique=True)):
            made[name] = draw(_criteria[name])
        inside = draw(st.lists(_provisions(depth - 1), max_size=3)) if depth else []
        return made | ({"provision": inside} if inside else {})

    return draw_one()


@st.composite
def _roots(draw: st.DrawFn) -> Resource:
    """Mostly with an actor, so that what lies inside matters; half of them frames."""
    root = draw(_provisions(2, ("permit", "permit", "deny")))
    if draw(st.integers(0, 4)):
        root["actor"] = draw(_actors)
    if draw(st.booleans()):
        root.pop("type")
    return root


_consents = st.lists(
    st.builds(world.consent, _roots(), status=st.sampled_from(["active"] * 9 + ["inactive"])), min_size=1, max_size=3
)
_codings = st.sampled_from(
    [
        *((codes.ICD_10_GM, code) for code in ("I10.90", "F32.1", "F10.2", "B20")),
        *((codes.LOINC, "2339-0"), (codes.ATC, "N06AB06"), ("urn:of-a-laboratory", "x")),
    ]
)
_dates = st.sampled_from(["2018", "2019-06", "2024-06-01", "2026-11-21T03:45:00Z", "soon"])


@st.composite
def _resources(draw: st.DrawFn) -> Facts:
    """Of any type, with a code, what else it mentions, labels and dates, each or none."""
    made: Resource = {}
    if draw(st.integers(0, 5)):
        made["code"] = world.concept(*draw(_codings))
    if draw(st.booleans()):
        made["reasonCode"] = [world.concept(*draw(_codings))]
    if draw(st.booleans()):
        made["meta"] = {"security": draw(_labels)}
    if draw(st.booleans()):
        made[draw(st.sampled_from(["onsetDateTime", "effectiveDateTime", "authoredOn"]))] = draw(_dates)
    named = st.sampled_from(["Observation", "Condition", "MedicationRequest", "ExplanationOfBenefit", "Binary"])
    return world.facts(world.resource(draw(named), **made))


_contexts = st.builds(Context, st.sampled_from(PARTIES), st.sampled_from(PURPOSES), st.just(world.NOW))


def _open(consents: list[Resource], context: Context) -> list[bool]:
    decider = Decider([parse(one) for one in consents], context)
    return [bool(decider.decide(facts)) for facts in ABOUT]


@pytest.mark.attack(53)
@weakens("aggregator.consent.decide._Case", "_denies", lambda *_: False)
@settings(_untimed, max_examples=POLICIES, suppress_health_check=list(HealthCheck))  # weakened by a fixture
@given(_consents, _contexts, st.lists(_resources(), min_size=20 - len(ABOUT), max_size=20 - len(ABOUT)))
@example([_ALL, world.consent(world.deny(class_=world.section("medications")))], _DR_B, [])
@example([_ALL, world.consent(world.deny(code=[world.concept(codes.ICD_10_GM, "F32")]))], _DR_B, [])
def test_a_naive_evaluator_says_the_same(consents: list[Resource], context: Context, drawn: list[Facts]) -> None:
    decider = Decider([parse(one) for one in consents], context)
    for facts in (*ABOUT, *drawn):
        assert bool(decider.decide(facts)) == permitted(consents, context, facts)


@pytest.mark.attack(53)
@_untimed
@given(_consents, _contexts, st.randoms(use_true_random=False))
def test_order_never_matters(consents: list[Resource], context: Context, random: Any) -> None:
    shuffled = copy.deepcopy(consents)
    _shuffle(shuffled, random)
    assert _open(shuffled, context) == _open(consents, context)


def _shuffle(node: Any, random: Any) -> None:
    if isinstance(node, list):
        random.shuffle(node)
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _shuffle(child, random)


@pytest.mark.attack(53)
@_untimed
@given(_consents, _contexts, _provisions(0, ("deny",)), st.data())
def test_adding_a_deny_anywhere_never_widens(
    consents: list[Resource], context: Context, added: Resource, data: st.DataObject
) -> None:
    before = _open(consents, context)
    widened = copy.deepcopy(consents)
    places = [widened, *(node.setdefault("provision", []) for one in widened for node in _nodes(one["provision"]))]
    place = data.draw(st.sampled_from(places))
    place.append(world.consent(added) if place is widened else added)
    assert all(was or not now for was, now in zip(before, _open(widened, context), strict=True))


def _nodes(provision: Resource) -> list[Resource]:
    return [provision, *(node for child in provision.get("provision", []) for node in _nodes(child))]


@_untimed
@given(_consents, _contexts)
def test_no_section_is_missing_from_the_net(consents: list[Resource], context: Context) -> None:
    policies = [parse(one) for one in consents]
    net = openable(policies, context.party, frozenset(SECTIONS), context.now)
    opened = {facts.section for facts in ABOUT if decide(policies, context, facts)}
    assert opened <= net


@_untimed
@given(_consents, _contexts)
def test_nothing_changes_before_the_next_boundary(consents: list[Resource], context: Context) -> None:
    early = dataclasses.replace(context, now=world.NOW - timedelta(days=4000))
    until = boundaries([parse(one) for one in consents], early.now)
    last = until - timedelta(microseconds=1) if until else world.NOW + timedelta(days=4000)
    assert _open(consents, early) == _open(consents, dataclasses.replace(early, now=last))


@_untimed
@given(_consents, _contexts)
def test_a_permit_names_active_consents_alone(consents: list[Resource], context: Context) -> None:
    named = [one | {"id": str(n)} for n, one in enumerate(consents)]
    active = {one["id"] for one in named if one["status"] == "active"}
    for facts in ABOUT:
        decision = decide([parse(one) for one in named], context, facts)
        if isinstance(decision, Permit):
            assert {rule.consent for rule in decision.rules} <= active
            assert decision.rules


_anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["type", "provision", "actor", "class", "code", "coding", "system", "period", "start", "x"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@_untimed
@given(_anything, _contexts)
def test_parsing_never_fails_and_nonsense_opens_nothing(node: Any, context: Context) -> None:
    policies = [parse(world.consent(None) | {"provision": node})]
    assert not any(decide(policies, context, facts) for facts in ABOUT)


@_untimed
@given(_anything, _anything, _contexts)
def test_nonsense_beside_a_permit_never_fails(scope: Any, period: Any, context: Context) -> None:
    policies = [parse(world.consent(world.permit(period=period), scope=scope))]
    assert not any(decide(policies, context, facts) for facts in ABOUT)
