"""The parts of a record as pages show them: their names in the order in which people read them, and a bar for each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from aggregator.identity.access_requests import ASKABLE
from aggregator.identity.dry_run import Outlook, Told
from aggregator.portal.words import Language
from fhir_profiles.profiles import SECTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """How much of one section is open. share: of 100."""

    title: str
    seen: int
    all: int
    share: int


def in_order(names: Collection[str], language: Language) -> dict[str, str]:
    """Section -> its title, of those that people choose among: not the directory, which comes along."""
    return {name: getattr(one, language) for name, one in SECTIONS.items() if name in names and name in ASKABLE}


def bars(told: Told, outlook: Outlook, language: Language) -> list[Bar]:
    """One for each section that holds anything."""
    found = told.by_section(outlook)
    return [
        Bar(title=title, seen=seen, all=seen + hidden, share=round(100 * seen / (seen + hidden)))
        for name, title in in_order(found.keys(), language).items()
        for seen, hidden in (found[name],)
    ]
