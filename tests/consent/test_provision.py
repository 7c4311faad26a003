"""A Consent as it is read: one whole policy, and what the patient is told of what was not understood."""

from __future__ import annotations

from datetime import UTC, datetime

from aggregator.consent.facts import LAST
from aggregator.consent.provision import UNREADABLE, Effect, Policy, Rule, parse
from fhir_profiles import codes
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import Resource, loads
from tests.consent.decide_world import actor, consent, deny, frame, permit, purpose, section

WHOLE = """{
  "resourceType": "Consent", "id": "c7", "status": "active",
  "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
  "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
  "patient": {"reference": "Patient/p"}, "dateTime": "2026-03-01",
  "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]},
  "provision": {
    "type": "permit",
    "period": {"start": "2026-03-01"},
    "actor": [{
      "role": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "PRCP"}]},
      "reference": {
        "reference": "Organization/praxis-b",
        "identifier": {"system": "https://fhir.kbv.de/NamingSystem/KBV_NS_Base_BSNR", "value": "721111100"}
      }
    }],
    "purpose": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT"}],
    "class": [{"system": "https://aggregator.example/fhir/CodeSystem/section", "code": "results"}],
    "provision": [{
      "type": "deny",
      "code": [{"coding": [{"system": "http://fhir.de/CodeSystem/bfarm/icd-10-gm", "code": "F32.-"}], "text": "?"}],
      "dataPeriod": {"start": "2020", "end": "2021-06"}
    }]
  }
}"""


def test_a_whole_consent() -> None:
    nested = Rule(
        path="provision.provision[0]",
        effect=Effect.DENY,
        clear=True,
        period=None,
        actors=None,
        actions=None,
        labels=None,
        purposes=None,
        classes=None,
        codes=frozenset({(codes.ICD_10_GM, "F32")}),
        data=None,
        data_period=(datetime(2019, 12, 31, 23, tzinfo=UTC), datetime(2021, 6, 30, 22, tzinfo=UTC)),
        children=(),
    )
    root = Rule(
        path="provision",
        effect=Effect.PERMIT,
        clear=True,
        period=(datetime(2026, 2, 28, 23, tzinfo=UTC), LAST),
        actors=frozenset({("", "Organization/praxis-b"), (codes.BSNR, "721111100")}),
        actions=None,
        labels=None,
        purposes=frozenset({(codes.ACT_REASON, "TREAT")}),
        classes=frozenset({(SECTION_SYSTEM, "results")}),
        codes=None,
        data=None,
        data_period=None,
        children=(nested,),
    )
    assert parse(loads(WHOLE)) == Policy(consent="c7", active=True, root=root, problems=())


def test_a_consent_without_provision_has_no_rule() -> None:
    assert parse(consent(None)) == Policy(consent="c1", active=True, root=None, problems=())


def test_a_frame_has_no_effect_and_a_nested_provision_without_type_is_an_unclear_deny() -> None:
    root = parse(consent(frame({}))).root
    assert root is not None
    assert (root.effect, root.clear) == (None, True)
    assert (root.children[0].effect, root.children[0].clear) == (Effect.DENY, False)


def test_one_item_that_is_not_understood_spoils_its_list() -> None:
    root = parse(consent(permit(purpose=purpose("TREAT", "WHIM")))).root
    assert root is not None
    assert root.purposes is UNREADABLE


def test_synonyms_in_one_concept_need_one_that_is_understood() -> None:
    both = {"coding": [{"display": "Depression"}, {"system": codes.ICD_10_GM, "code": "F32"}]}
    root = parse(consent(permit(code=[both]))).root
    assert root is not None
    assert root.codes == {(codes.ICD_10_GM, "F32")}


def test_problems_name_places_never_values() -> None:
    odd = permit(
        deny(class_=section("results", "feelings"), mood="SECRET"),
        {"actor": [actor(role="SECRET")]},
        code=[{"text": "SECRET"}],
        period={"start": "SECRET"},
    )
    assert parse(consent(odd, modifierExtension=[{"url": "SECRET"}])).problems == (
        "The consent's own elements or its scope are not understood.",
        "provision is not understood: a permit with it opens nothing, a deny with it applies.",
        "provision.code is not understood: a permit with it opens nothing, a deny with it applies.",
        "provision.period is not understood: a permit with it opens nothing, a deny with it applies.",
        "provision.provision[0] is not understood: a permit with it opens nothing, a deny with it applies.",
        "provision.provision[0].class is not understood: a permit with it opens nothing, a deny with it applies.",
        "provision.provision[1] is not understood: a permit with it opens nothing, a deny with it applies.",
        "provision.provision[1].actor is not understood: a permit with it opens nothing, a deny with it applies.",
    )


def test_what_is_no_consent_is_not_active() -> None:
    other: Resource = consent(permit()) | {"resourceType": "Contract"}
    assert not parse(other).active
    assert not parse({}).active
