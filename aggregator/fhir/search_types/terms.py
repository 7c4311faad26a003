"""Conditions on the terms of an image: what tokens, strings and URIs have in common, and references that lead out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aggregator.fhir.clause import Clause, Values, among, scoped
from aggregator.fhir.view import View
from aggregator.vault.image import Image

_LAST = "\U0010ffff"  # no character, so nothing that begins with a text lies behind the text and this

COMPARED = {
    "equals": "{row}.text = ?",
    "begins": "{row}.text BETWEEN ? AND ?",
    "contains": "instr({row}.text, ?)",
    "begun by": "substr(?, 1, length({row}.text)) = {row}.text",
}
"""How a term's text must lie to the one that is asked for."""


@dataclass(frozen=True, slots=True)
class TermTest:
    """A term of this system and text; None: any."""

    system: str | None
    text: str | None
    compared: str = "equals"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The resource has a term in one of these scopes that passes one of the tests."""

    name: str
    scopes: tuple[int, ...]
    tests: tuple[TermTest, ...]

    @property
    def alternatives(self) -> int:
        """Each test is one."""
        return len(self.tests)

    def clause(self, view: View) -> Clause:
        """The postings of all terms that pass."""
        sizes = dict(found for test in self.tests for found in _terms(view.image, self.scopes, test))
        return among("posting", "tid", [*sizes], sum(sizes.values()))


def _terms(image: Image, scopes: Sequence[int], test: TermTest) -> Iterator[tuple[int, int]]:
    """Number of each term that passes, and in how many resources it is."""
    holds, values = [scoped(scopes)], Values()
    if test.text is not None:
        holds.append(COMPARED[test.compared])
        values += [test.text, test.text + _LAST] if test.compared == "begins" else [test.text]
    if test.system is not None:
        holds.append("{row}.system = ?")
        values.append(test.system)
    statement = f"SELECT t.tid, t.size FROM term t WHERE {' AND '.join(holds)}"  # noqa: S608  # templates of our own
    yield from image.select(statement.format(row="t"), values)
