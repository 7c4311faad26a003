"""What a patient says of one sharing, as a small value, and the Consent that means it: https://hl7.org/fhir/R4/consent.html

`consent_of` writes it, `sharing_of` reads it back: only where the value says all that the Consent does, by the same
reading as the decision's. A Consent that says more has no such value; `sentences.py` tells it, nothing left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aggregator.consent.context import Party
from aggregator.consent.facts import period as stretch
from aggregator.consent.provision import REFERENCE, TYPE_SYSTEM, Effect, Rule, Tokens, parse
from aggregator.consent.section_table import Coding
from aggregator.errors import CallerError
from fhir_profiles.build import codeable, coding, identifier, period, present
from fhir_profiles.codes import ACT_CODE, ACT_REASON, CONSENT_SCOPE, LOINC, PARTICIPATION_TYPE, PARTY_CLASS
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """A grantee as a Consent names it: by a reference `Organization/<party>`, an identifier, or both.

    name: what people call it; it decides nothing.
    """

    named: frozenset[Coding]
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """One grantee may read: these sections, without these types and labels, for these purposes, then, of then.

    sections: none for every one that is not sensitive, those of later releases too. purposes: none for all but
    marketing and emergencies. since, until: when it may read; data_since, data_until: when what it reads happened.
    FHIR's dateTimes, empty where open.
    """

    who: Who
    sections: frozenset[str] = frozenset()
    without_types: frozenset[str] = frozenset()
    without_labels: frozenset[Coding] = frozenset()
    purposes: frozenset[str] = frozenset({"TREAT"})
    since: str = ""
    until: str = ""
    data_since: str = ""
    data_until: str = ""


def who_is(party: Party, name: str) -> Who:
    """A party, named by its first identifier, which stays when a registration is made anew; else by its id here."""
    own = sorted(token for token in party.identifiers if token[0] != PARTY_CLASS)
    return Who(named=frozenset({next(iter(own), (REFERENCE, f"Organization/{party.id}"))}), name=name)


_ELEMENTS = frozenset({"resourceType", "status", "scope", "category", "patient", "dateTime", "policyRule", "provision"})


def consent_of(sharing: Sharing, patient: str, now: datetime, before: Resource | None = None) -> Resource:
    """The whole Consent, active. patient: the whole id. before: the Consent that it changes, whose other elements stay.

    Raises CallerError for what no Consent can say.
    """
    made = {
        "resourceType": "Consent",
        "status": "active",
        "scope": codeable(coding(CONSENT_SCOPE, "patient-privacy")),
        "category": [codeable(coding(LOINC, "59284-0", "Patient Consent"))],
        "patient": {"reference": f"Patient/{patient}"},
        "dateTime": now.isoformat(timespec="seconds"),
        "policyRule": codeable(coding(ACT_CODE, "OPTIN")),
        "provision": _provision(sharing),
    }
    kept = {name: value for name, value in (before or {}).items() if name not in _ELEMENTS}
    if sharing_of(made) != sharing:
        raise CallerError("this cannot be said in a consent: check who, the sections, the purposes and the dates")
    return kept | made


def sharing_of(consent: Resource) -> Sharing | None:
    """The value that says all of it; None where it says more, is not active, or cannot be understood."""
    policy = parse(consent)
    if not policy.active or policy.problems or policy.root is None:
        return None
    provision: dict[str, Any] = consent["provision"]
    found = _read(policy.root, provision)
    written = parse({**consent, "provision": _provision(found)}).root
    return found if written and _meaning(written) == _meaning(policy.root) else None


def _provision(sharing: Sharing) -> dict[str, Any]:
    return present(
        type="permit",
        period=period(sharing.since, sharing.until),
        actor=[_actor(sharing.who)],
        purpose=_codings((ACT_REASON, code) for code in sharing.purposes),
        class_=_codings((SECTION_SYSTEM, name) for name in sharing.sections),
        dataPeriod=period(sharing.data_since, sharing.data_until),
        provision=[
            *_refusal(class_=_codings((TYPE_SYSTEM, name) for name in sharing.without_types)),
            *_refusal(securityLabel=_codings(sharing.without_labels)),
        ],
    )


def _refusal(**criterion: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [present(type="deny", **criterion)] if any(criterion.values()) else []


def _actor(who: Who) -> dict[str, Any]:
    references = [value for system, value in sorted(who.named) if system == REFERENCE]
    others = [identifier(*token) for token in sorted(who.named) if token[0] != REFERENCE]
    return {
        "role": codeable(coding(PARTICIPATION_TYPE, "IRCP", "information recipient")),
        "reference": present(
            reference=next(iter(references), None), identifier=next(iter(others), None), display=who.name
        ),
    }


def _codings(tokens: Iterable[Coding]) -> list[dict[str, Any]]:
    return [coding(*token) for token in sorted(tokens)]


def _read(root: Rule, provision: dict[str, Any]) -> Sharing:
    """What of it a Sharing can hold; whether that is all, the caller compares."""
    refused = [rule for rule in root.children if rule.effect is Effect.DENY]
    types = frozenset(code for rule in refused for system, code in _given(rule.classes) if system == TYPE_SYSTEM)
    since, until = _period(provision.get("period"))
    data_since, data_until = _period(provision.get("dataPeriod"))
    return Sharing(
        who=Who(named=_given(root.actors), name=_display(provision)),
        sections=frozenset(code for system, code in _given(root.classes) if system == SECTION_SYSTEM),
        without_types=types,
        without_labels=frozenset[Coding]().union(*(_given(rule.labels) for rule in refused)),
        purposes=frozenset(code for _, code in _given(root.purposes)),
        since=since,
        until=until,
        data_since=data_since,
        data_until=data_until,
    )


def _given(tokens: Tokens) -> frozenset[Coding]:
    return tokens if isinstance(tokens, frozenset) else frozenset()


def _period(given: Any) -> tuple[str, str]:
    readable = isinstance(given, dict) and stretch(given) is not None
    return (given.get("start", ""), given.get("end", "")) if readable else ("", "")


def _display(provision: dict[str, Any]) -> str:
    actors = provision.get("actor", [{}])
    shown = actors[0].get("reference", {}).get("display")
    return shown if isinstance(shown, str) else ""


def _meaning(rule: Rule) -> tuple[Any, ...]:
    """All that the decision reads of a rule, but its place."""
    criteria = (rule.period, rule.actors, rule.actions, rule.labels, rule.purposes, rule.classes, rule.codes, rule.data)
    return (rule.effect, rule.clear, *criteria, rule.data_period, frozenset(map(_meaning, rule.children)))
