"""A Consent in plain sentences, German and English: every provision, every criterion, nothing dropped.

Sentences are made of the same reading that decides (`provision.parse`). What that does not understand is told as such:
a permission with it opens nothing, a prohibition with it holds. Names and displays come from the Consent itself, or
from who is registered here; where nobody gives a name, the code stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from aggregator.consent.context import COLLECT, READ, Path, may_permit, paths
from aggregator.consent.facts import FIRST, LAST, Span
from aggregator.consent.plain import ACTIONS, CLASSES, LABELS, PURPOSES, TYPES, Words
from aggregator.consent.provision import UNREADABLE, Effect, Policy, Rule, parse
from aggregator.consent.section_table import Coding, SectionTable
from fhir_profiles.dates import ZONE
from fhir_profiles.profiles import SECTION_SYSTEM, SECTIONS
from fhir_profiles.text import Resource

Names = Mapping[Coding, str]
"""A grantee's token -> what people call it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A Consent for people. understood: all of it. permits: whether any of it can open anything to anybody at all."""

    sentences: tuple[Words, ...]
    understood: bool
    permits: bool


def told(consent: Resource, names: Names) -> Told:
    """What a Consent says. Never raises for content."""
    policy, said = parse(consent), named_in(consent) | dict(names)
    sentences = [] if policy.active else [_NOT_ACTIVE]
    sentences += [_NOT_UNDERSTOOD] if policy.problems else []
    sentences += [_sentence(depth, rule, said) for depth, rule in _walk(policy.root)] if policy.root else [_EMPTY]
    return Told(sentences=tuple(sentences), understood=not policy.problems, permits=_permits(policy))


def named_in(consent: Resource) -> dict[Coding, str]:
    """What the Consent itself calls the parties and codes that it names."""
    return dict(_said(consent))


_NOT_ACTIVE = ("Diese Einwilligung gilt nicht.", "This consent is not in effect.")
_EMPTY = ("Sie erlaubt und verbietet nichts.", "It permits and forbids nothing.")
_NOT_UNDERSTOOD = (
    "Ein Teil davon ist für diesen Dienst nicht verständlich: Was davon erlauben soll, erlaubt nichts; was verbieten "
    "soll, gilt als Verbot.",
    "A part of it cannot be understood by this service: what is meant to permit permits nothing; what is meant to "
    "forbid does.",
)
_HEADS: Mapping[tuple[Effect | None, bool], Words] = {
    (Effect.PERMIT, False): ("Erlaubt ist", "Permitted is"),
    (Effect.DENY, False): ("Verboten ist", "Forbidden is"),
    (None, False): ("Für alles Folgende gilt", "For all that follows holds"),
    (Effect.PERMIT, True): ("Darin ist doch erlaubt", "Within that, permitted is"),
    (Effect.DENY, True): ("Davon ausgenommen ist", "Excluded from that is"),
}
"""(effect, is it inside another) -> how its sentence begins."""
_ALL: Mapping[tuple[Effect, bool], Words] = {
    (Effect.PERMIT, False): ("alles, was nicht besonders geschützt ist", "everything that is not specially protected"),
    (Effect.DENY, False): ("alles", "everything"),
    (Effect.PERMIT, True): ("alles darin", "everything in it"),
    (Effect.DENY, True): ("alles darin", "everything in it"),
}
"""What a rule without class, code, entry or label is about: what is sensitive opens only where it is named."""
_NARROWING = ("classes", "codes", "data", "labels")
_UNREAD = ("nicht verständlich", "not understood")
_UNCLEAR = ("mit einer Bedingung, die nicht verständlich ist", "with a condition that is not understood")
_NONE = ("nichts Bestimmtes", "nothing in particular")


def _walk(rule: Rule, depth: int = 0) -> Iterator[tuple[int, Rule]]:
    yield depth, rule
    for child in rule.children:
        yield from _walk(child, depth + 1)


def _sentence(depth: int, rule: Rule, said: Names) -> Words:
    clauses = [_UNCLEAR] if not rule.clear else []
    for name, (german, english) in _CLAUSES.items():
        value = getattr(rule, name)
        if value is not None:
            words = _UNREAD if value is UNREADABLE else _WORDS[name](value, said)
            clauses.append((f"{german} {words[0]}", f"{english} {words[1]}"))
    if rule.effect is not None and all(getattr(rule, name) is None for name in _NARROWING):
        clauses.insert(0, _ALL[rule.effect, depth > 0])
    german, english = _HEADS[rule.effect, depth > 0]
    said_de, said_en = joined(clauses or [_NONE], "; ")
    return f"{german}: {said_de}.", f"{english}: {said_en}."


_CLAUSES: Mapping[str, Words] = {
    "actors": ("für", "to"),
    "classes": ("Bereiche:", "sections:"),
    "codes": ("nur zu", "only about"),
    "data": ("nur diese Einträge:", "only these entries:"),
    "labels": ("was gekennzeichnet ist als", "what is labelled as"),
    "actions": ("um zu", "in order to"),
    "purposes": ("Zweck:", "purpose:"),
    "period": ("gültig", "in force"),
    "data_period": ("nur, was geschah", "only what happened"),
}
"""Criterion -> what stands before its values, in the order in which they are told."""


def _values(word: Callable[[Coding, Names], Words]) -> Callable[[Any, Names], Words]:
    def words(tokens: frozenset[Coding], said: Names) -> Words:
        return joined(word(token, said) for token in sorted(tokens))

    return words


def joined(parts: Iterable[Words], between: str = ", ") -> Words:
    """A list in both languages."""
    both = list(parts)
    return between.join(german for german, _ in both), between.join(english for _, english in both)


def section_or_type(token: Coding) -> Words:
    """A section's name, or a kind of resource's."""
    system, code = token
    if system == SECTION_SYSTEM and code in SECTIONS:
        return SECTIONS[code].de, SECTIONS[code].en
    return TYPES.get(code, (code, code))


def _called(token: Coding, said: Names) -> Words:
    name = said.get(token) or token[1]
    return name, name


def _stretch(span: Span, _: Names) -> Words:
    """Its first and its last day, with the time where it is not midnight."""
    low, high = span
    since = (f"ab {_day(low, '%d.%m.%Y')}", f"from {_day(low, '%Y-%m-%d')}") if low > FIRST else ("", "")
    last = high - timedelta(days=1) if _is_midnight(high) else high  # what ends at midnight ends with the day before
    until = (f"bis {_day(last, '%d.%m.%Y')}", f"until {_day(last, '%Y-%m-%d')}") if high < LAST else ("", "")
    return f"{since[0]} {until[0]}".strip(), f"{since[1]} {until[1]}".strip()


def _is_midnight(moment: datetime) -> bool:
    return FIRST < moment < LAST and moment.astimezone(ZONE).time() == time()


def _day(moment: datetime, form: str) -> str:
    return moment.astimezone(ZONE).strftime(form if _is_midnight(moment) else f"{form} %H:%M")


_WORDS: Mapping[str, Callable[[Any, Names], Words]] = {
    "actors": _values(lambda token, said: CLASSES.get(token) or _called(token, said)),
    "classes": _values(lambda token, _: section_or_type(token)),
    "codes": _values(_called),
    "data": _values(_called),
    "labels": _values(lambda token, said: LABELS.get(token) or _called(token, said)),
    "actions": _values(lambda token, _: ACTIONS[token[1]]),
    "purposes": _values(lambda token, _: PURPOSES.get(token[1], (token[1], token[1]))),
    "period": _stretch,
    "data_period": _stretch,
}


def _said(node: Any) -> Iterator[tuple[Coding, str]]:
    """Each coding's and each reference's display, wherever the Consent has one."""
    if isinstance(node, dict):
        display = node.get("display")
        if isinstance(display, str) and display.strip():
            yield from ((token, display) for token in _tokens(node))
        for child in node.values():
            yield from _said(child)
    elif isinstance(node, list):
        for child in node:
            yield from _said(child)


def _tokens(node: Mapping[str, Any]) -> Iterator[Coding]:
    pairs = [("", node.get("reference")), (node.get("system"), node.get("code"))]
    identifier = node.get("identifier")
    if isinstance(identifier, dict):
        pairs.append((identifier.get("system"), identifier.get("value")))
    for system, code in pairs:
        if isinstance(system, str) and isinstance(code, str):
            yield SectionTable.load().canonical((system, code))


def _permits(policy: Policy) -> bool:
    """Could a permission of it ever count, to whomever it names?"""
    return any(may_permit(path, _anybody(path), action) for path in paths(policy) for action in (READ, COLLECT))


def _anybody(path: Path) -> frozenset[Coding]:
    return frozenset[Coding]().union(*(rule.actors for rule in path if isinstance(rule.actors, frozenset)))
