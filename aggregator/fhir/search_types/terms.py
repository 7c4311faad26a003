"""Conditions on the terms of an image: what tokens, strings and references have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aggregator.fhir.clause import Clause, Values, among
from aggregator.fhir.view import View
from aggregator.vault.image import Image

_TERM = "SELECT tid, size FROM term WHERE scope = ?"


@dataclass(frozen=True, slots=True)
class TermTest:
    """A term of this system and text. None: any; begins: the text is the beginning."""

    system: str | None
    text: str | None
    begins: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The resource has a term that passes one of the tests."""

    name: str
    scope: int
    tests: tuple[TermTest, ...]

    @property
    def alternatives(self) -> int:
        """Each test is one."""
        return len(self.tests)

    def clause(self, view: View) -> Clause:
        """The postings of all terms that pass."""
        sizes = dict(found for test in self.tests for found in _terms(view.image, self.scope, test))
        return among("posting", "tid", [*sizes], sum(sizes.values()))


def _terms(image: Image, scope: int, test: TermTest) -> Iterator[tuple[int, int]]:
    """Number of each term that passes, and in how many resources it is."""
    text, values = _TERM, Values([scope])
    if test.text is not None and test.begins:
        text += " AND text BETWEEN ? AND ?"
        values += [test.text, f"{test.text}\U0010ffff"]  # no character, so nothing that begins so lies behind it
    elif test.text is not None:
        text += " AND text = ?"
        values.append(test.text)
    if test.system is not None:
        text += " AND system = ?"
        values.append(test.system)
    yield from image.select(text, values)
